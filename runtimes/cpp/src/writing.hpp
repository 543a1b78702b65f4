// Files that are written whole or not at all.
#pragma once

#include <filesystem>
#include <string>

namespace samdeploy::internal {

/// A name beside `path` that no other process or thread uses, with the same ending.
std::filesystem::path unused_beside(const std::filesystem::path& path);

/// Several may write the same path at a time: the last one's file stays. Throws `Error` (output).
void write_file(const std::filesystem::path& path, const std::string& content);

}  // namespace samdeploy::internal

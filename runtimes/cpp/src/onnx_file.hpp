// The side files that hold weights of an ONNX file, read from its protocol buffers; the graph itself is skipped.
#pragma once

#include <filesystem>
#include <set>
#include <string>

namespace samdeploy::internal {

/// Names as the file tells them, relative to its folder. Throws `std::runtime_error` for what is no ONNX file.
std::set<std::string> external_files(const std::filesystem::path& path);

}  // namespace samdeploy::internal

// SHA-256 of a file (FIPS 180-4).
#pragma once

#include <filesystem>
#include <string>

namespace samdeploy::internal {

/// Lower-case hex. Throws `std::ios_base::failure` where the file cannot be read.
std::string sha256(const std::filesystem::path& path, bool instructions = true);

}  // namespace samdeploy::internal

// A bundle: a folder of graphs and the manifest that says exactly what they are.
#pragma once

#include <filesystem>

#include "manifest.hpp"

namespace samdeploy::internal {

/// Read the manifest and check every file: that it is there, inside the folder, of its size and SHA-256, and makes a
/// library read no other. Throws `Error` (bundle).
Manifest open_bundle(const std::filesystem::path& folder);

}  // namespace samdeploy::internal

// The files of a bundle: a folder of graphs and the manifest that says exactly what they are.
#pragma once

#include <filesystem>

#include "manifest.hpp"

namespace samdeploy::internal {

/// Check every file: that it is there, inside the folder, of its size and SHA-256, and makes a library read no other.
/// Throws `Error` (bundle).
void check_files(const std::filesystem::path& folder, const Manifest& manifest);

/// The same of one graph, right before it is opened long after all were checked.
void check_again(const std::filesystem::path& folder, const Manifest& manifest, const GraphRecord& graph);

}  // namespace samdeploy::internal

#include "bundle.hpp"

#include <functional>
#include <future>
#include <set>
#include <vector>

#include "hash.hpp"
#include "onnx_file.hpp"
#include "text.hpp"

namespace samdeploy::internal {
namespace {

namespace fs = std::filesystem;

void check_file(const fs::path& folder, const FileRecord& file) {
  const fs::path path = folder / file.path;
  const std::string shown = path.string();
  std::error_code failed;
  const fs::file_status status = fs::symlink_status(path, failed);
  if (status.type() == fs::file_type::not_found) {
    refuse(Fault::bundle, "bundle '", folder.string(), "' lacks '", file.path, "'; export or copy it again.");
  }
  if (fs::weakly_canonical(path, failed) != fs::canonical(folder) / fs::path(file.path).lexically_normal()) {
    refuse(Fault::bundle, "bundle '", folder.string(), "' names '", file.path,
           "', which is a link or outside its folder; do not use it.");
  }
  if (status.type() != fs::file_type::regular) {
    refuse(Fault::bundle, "'", shown, "' is no regular file; export or copy the bundle again.");
  }
  const std::uintmax_t bytes = fs::file_size(path, failed);
  if (bytes != file.bytes) {
    refuse(Fault::bundle, "'", shown, "' has ", bytes, " bytes, the manifest says ", file.bytes,
           "; export or copy the bundle again.");
  }
  std::string digest;
  try {
    digest = sha256(path);
  } catch (const std::ios_base::failure&) {
    refuse(Fault::bundle, "'", shown, "' cannot be read; check the path.");
  }
  if (digest != file.sha256) {
    refuse(Fault::bundle, "'", shown,
           "' was changed: its SHA-256 is not the manifest's; export or copy the bundle again.");
  }
}

/// What else a library reads when it opens a graph.
std::set<fs::path> read_beside(const fs::path& graph) {
  std::set<fs::path> beside;
  if (graph.extension() == ".onnx") {
    try {
      for (const std::string& name : external_files(graph)) beside.insert(graph.parent_path() / name);
    } catch (const std::runtime_error& error) {
      refuse(Fault::bundle, "'", graph.string(), "' is not an ONNX file (", reason(error), "); export it again.");
    }
  } else if (graph.extension() == ".xml") {
    const fs::path weights = fs::path(graph).replace_extension(".bin");
    if (fs::exists(weights)) beside.insert(weights);
  }
  return beside;
}

}  // namespace

void check_files(const fs::path& folder, const Manifest& manifest) {
  std::set<fs::path> listed;
  std::vector<std::future<void>> checking;
  for (const auto& [role, graph] : manifest.graphs) {
    for (const FileRecord& file : graph.files) {
      listed.insert(folder / file.path);
      checking.push_back(std::async(std::launch::async, check_file, std::cref(folder), std::cref(file)));
    }
  }
  // In their order, so that of several errors always the same is told.
  for (std::future<void>& each : checking) each.get();
  for (const fs::path& path : listed) {
    for (const fs::path& other : read_beside(path)) {
      if (listed.count(other) != 0) continue;
      refuse(Fault::bundle, "'", path.string(), "' makes a library read '", other.filename().string(),
             "', which the manifest of the bundle does not list; do not use it, or export it again.");
    }
  }
}

}  // namespace samdeploy::internal

#include "bundle.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <fstream>
#include <future>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "hash.hpp"
#include "onnx_file.hpp"
#include "text.hpp"

namespace samdeploy::internal {
namespace {

namespace fs = std::filesystem;

fs::path path_of(const fs::path& folder, const FileRecord& file) { return (folder / file.path).lexically_normal(); }

/// What a manifest lists, each file once.
using Listed = std::map<fs::path, const FileRecord*>;

Listed listed_in(const fs::path& folder, const Manifest& manifest) {
  Listed listed;
  for (const auto& [role, graph] : manifest.graphs) {
    for (const FileRecord& file : graph.files) {
      const FileRecord& first = *listed.emplace(path_of(folder, file), &file).first->second;
      if (first.bytes == file.bytes && first.sha256 == file.sha256) continue;
      refuse(Fault::bundle, "bundle '", folder.string(), "' lists '", file.path,
             "' twice, with different contents; export it again.");
    }
  }
  return listed;
}

void check_file(const fs::path& folder, const FileRecord& file) {
  const fs::path path = folder / file.path;
  const std::string shown = path.string();
  std::error_code failed;
  const fs::file_status status = fs::symlink_status(path, failed);
  if (status.type() == fs::file_type::not_found) {
    refuse(Fault::bundle, "bundle '", folder.string(), "' lacks '", file.path, "'; export or copy it again.");
  }
  if (fs::weakly_canonical(path, failed) != fs::canonical(folder, failed) / fs::path(file.path).lexically_normal()) {
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

/// Check files in as many threads as there are processors. Of several errors that of the first file is told.
void check_side_by_side(const fs::path& folder, const std::vector<const FileRecord*>& files) {
  std::atomic<std::size_t> next{0};
  std::vector<std::exception_ptr> errors(files.size());
  const auto work = [&] {
    for (std::size_t i = next++; i < files.size(); i = next++) {
      try {
        check_file(folder, *files[i]);
      } catch (...) {
        errors[i] = std::current_exception();
        next = files.size();  // whatever comes before this one is in work already
      }
    }
  };
  const std::size_t threads = std::min<std::size_t>(std::max(1U, std::thread::hardware_concurrency()), files.size());
  std::vector<std::future<void>> helping;
  for (std::size_t i = 1; i < threads; i++) {
    // Where no thread is to be had, this one does it all.
    helping.push_back(std::async(std::launch::async | std::launch::deferred, work));
  }
  work();
  for (std::future<void>& each : helping) each.get();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

/// After a byte order mark and white space.
bool begins_as_xml(const fs::path& graph) {
  std::string start(4096, '\0');
  std::ifstream file(graph, std::ios::binary);
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<std::size_t>(file.gcount()));
  if (start.rfind("\xEF\xBB\xBF", 0) == 0) start.erase(0, 3);
  const std::size_t first = start.find_first_not_of(" \t\r\n");
  return first != std::string::npos && start[first] == '<';
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
    // OpenVINO goes by what a file holds, not by its name: another format could name files of its own.
    if (!begins_as_xml(graph)) refuse(Fault::bundle, "'", graph.string(), "' is not OpenVINO's XML; export it again.");
    const fs::path weights = fs::path(graph).replace_extension(".bin");
    if (fs::exists(weights)) beside.insert(weights);
  }
  return beside;
}

/// Check some of the files that are listed, and whatever else a library reads with them.
void check_listed(const fs::path& folder, const Listed& listed, const std::set<fs::path>& wanted) {
  const auto records = [&](const std::set<fs::path>& paths) {
    std::vector<const FileRecord*> files;
    for (const fs::path& path : paths) files.push_back(listed.at(path));
    return files;
  };
  check_side_by_side(folder, records(wanted));
  std::set<fs::path> more;
  for (const fs::path& path : wanted) {
    for (const fs::path& other : read_beside(path)) {
      if (listed.count(other) == 0) {
        refuse(Fault::bundle, "'", path.string(), "' makes a library read '", other.filename().string(),
               "', which the manifest of the bundle does not list; do not use it, or export it again.");
      }
      if (wanted.count(other) == 0) more.insert(other);
    }
  }
  check_side_by_side(folder, records(more));
}

}  // namespace

void check_files(const fs::path& folder, const Manifest& manifest) {
  const Listed listed = listed_in(folder, manifest);
  std::set<fs::path> all;
  for (const auto& [path, file] : listed) all.insert(path);
  check_listed(folder, listed, all);
}

void check_again(const fs::path& folder, const Manifest& manifest, const GraphRecord& graph) {
  std::set<fs::path> own;
  for (const FileRecord& file : graph.files) own.insert(path_of(folder, file));
  try {
    check_listed(folder, listed_in(folder, manifest), own);
  } catch (const Error& error) {
    refuse(error.fault(), "bundle '", folder.string(), "' is not the one that was opened any more (", reason(error),
           "); open the model again.");
  }
}

}  // namespace samdeploy::internal

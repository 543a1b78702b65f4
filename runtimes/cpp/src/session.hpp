// The seam between this library and what computes: a file per backend implements it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "tensor.hpp"

namespace samdeploy::internal {

/// One opened graph; any thread may run it.
class Session {
 public:
  virtual ~Session() = default;
  /// `feeds` are those that the graph takes, of the shapes of its role. Throws `Error` (runtime) where it fails.
  virtual Tensors run(const Feeds& feeds) = 0;
  /// What really computes, such as `OpenVINO CPU fp32`.
  virtual std::string provider() const = 0;
};

/// Opens the graphs of one model.
class Backend {
 public:
  virtual ~Backend() = default;
  /// Throws `Error`: runtime where the device is not usable, bundle where the graph is not.
  virtual std::unique_ptr<Session> open(const std::filesystem::path& path, const GraphRecord& graph) = 0;
  /// Whether several threads are to open graphs at a time; else each is opened by whoever needs it first.
  virtual bool opens_side_by_side() const { return true; }
};

/// What this library was built with.
struct BackendKind {
  const char* name;
  /// Ends of the names of the graphs that it opens.
  std::vector<std::string> suffixes;
  /// Throws `Error` for options that it cannot honour.
  std::unique_ptr<Backend> (*make)(const OpenOptions& options);
};
const std::vector<BackendKind>& backend_kinds();

std::unique_ptr<Backend> make_openvino(const OpenOptions& options);
std::unique_ptr<Backend> make_onnxruntime(const OpenOptions& options);

}  // namespace samdeploy::internal

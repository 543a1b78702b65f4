// The list of backends; CMake says which of them are built.
#include "session.hpp"

namespace samdeploy {

const std::vector<internal::BackendKind>& internal::backend_kinds() {
  static const std::vector<BackendKind> all{
#ifdef SAMDEPLOY_OPENVINO
      {"openvino", {".xml", ".onnx"}, make_openvino},
#endif
#ifdef SAMDEPLOY_ONNXRUNTIME
      {"onnxruntime", {".onnx"}, make_onnxruntime},
#endif
  };
  return all;
}

std::vector<std::string> backends() {
  std::vector<std::string> names;
  for (const internal::BackendKind& kind : internal::backend_kinds()) names.emplace_back(kind.name);
  return names;
}

}  // namespace samdeploy

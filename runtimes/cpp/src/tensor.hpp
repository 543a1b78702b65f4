// Float32 values and their shape, in row-major order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace samdeploy::internal {

using Shape = std::vector<std::int64_t>;

inline std::size_t count(const Shape& shape) {
  std::size_t product = 1;
  for (std::int64_t side : shape) product *= static_cast<std::size_t>(side);
  return product;
}

struct Tensor {
  Shape shape;
  std::vector<float> data;
};

using Tensors = std::map<std::string, Tensor>;
/// What a graph takes, by name; the tensors stay their owner's.
using Feeds = std::map<std::string, const Tensor*>;

inline void add(Feeds& feeds, const Tensors& tensors) {
  for (const auto& [name, tensor] : tensors) feeds[name] = &tensor;
}

}  // namespace samdeploy::internal

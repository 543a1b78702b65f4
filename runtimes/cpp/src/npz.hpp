// NumPy's archives of arrays: ZIP files, not compressed, of `.npy` members.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tensor.hpp"

namespace samdeploy::internal {

/// An array as it lies in a file, little-endian.
struct StoredArray {
  /// NumPy's name of it: `<f4`, `<i8`, `|b1`.
  std::string type;
  Shape shape;
  std::string bytes;
};
using StoredArrays = std::map<std::string, StoredArray>;

std::string write_npz(const StoredArrays& arrays);

/// Throws `std::runtime_error` for what is none, or holds other than these types.
StoredArrays read_npz(const std::string& archive);

}  // namespace samdeploy::internal

// An encoded image, and what is computed from it once.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>

#include "geometry.hpp"
#include "tensor.hpp"

namespace samdeploy::internal {

struct EmbeddingData {
  EmbeddingData(Tensors encoded, const Transform& resized) : tensors(std::move(encoded)), transform(resized) {}

  /// What the encoder gave, by name.
  Tensors tensors;
  Transform transform;

  /// What `prepare` of the model numbered `prepared_by` made of it, once it was asked.
  mutable std::mutex preparing;
  mutable std::shared_ptr<const Tensors> prepared;
  mutable std::uint64_t prepared_by = 0;
};

/// Write an `.npz` file, whole or not at all. Throws `Error` (output).
void save_embedding(const EmbeddingData& embedding, const std::filesystem::path& path);

/// Read one, of this library or of Python. Throws `Error` (input).
std::shared_ptr<const EmbeddingData> load_embedding(const std::filesystem::path& path);

}  // namespace samdeploy::internal

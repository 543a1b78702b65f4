#include "embedding.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <set>

#include "npz.hpp"
#include "text.hpp"
#include "writing.hpp"

namespace samdeploy {
namespace internal {
namespace {

namespace fs = std::filesystem;

/// Of an image whose masks could still be made.
constexpr std::int64_t most_pixels = std::int64_t{1} << 31;
constexpr std::int64_t most_side = 1 << 28;
/// What is stored beside the tensors: the transform.
const std::set<std::string> sizes{"original_size", "input_size", "image_size", "one_step"};

template <typename Number>
StoredArray stored(const char* type, Shape shape, const Number* values) {
  StoredArray array{type, std::move(shape), {}};
  array.bytes.assign(reinterpret_cast<const char*>(values), count(array.shape) * sizeof(Number));
  return array;
}

StoredArray stored(Size size) {
  const std::int64_t sides[]{size.height, size.width};
  return stored("<i8", {2}, sides);
}

std::vector<std::int64_t> whole_numbers(const StoredArrays& arrays, const std::string& name, std::size_t expected) {
  const auto found = arrays.find(name);
  if (found == arrays.end() || found->second.type != "<i8" || count(found->second.shape) != expected) {
    throw std::runtime_error(text("no ", name));
  }
  std::vector<std::int64_t> values(expected);
  std::memcpy(values.data(), found->second.bytes.data(), expected * sizeof(std::int64_t));
  if (std::any_of(values.begin(), values.end(), [](std::int64_t value) { return value < 1 || value > most_side; })) {
    throw std::runtime_error(text(name, " is out of range"));
  }
  return values;
}

Size size_of(const StoredArrays& arrays, const std::string& name) {
  const auto sides = whole_numbers(arrays, name, 2);
  return {static_cast<int>(sides[0]), static_cast<int>(sides[1])};
}

/// Files without `input_size` are older than any other way to resize than by the longer side, and those without
/// `one_step` than any of one step.
Transform transform_of(const StoredArrays& arrays) {
  const Size original = size_of(arrays, "original_size");
  const auto image_size = static_cast<int>(whole_numbers(arrays, "image_size", 1)[0]);
  if (std::int64_t{original.height} * original.width > most_pixels || image_size > 1 << 16) {
    throw std::runtime_error(
        text("an image of ", original.height, " x ", original.width, " in an input of ", image_size, " pixels"));
  }
  if (arrays.count("input_size") == 0) return Transform::fit(original, image_size);
  const Size input = size_of(arrays, "input_size");
  if (std::max(input.height, input.width) > image_size) throw std::runtime_error("input_size is out of range");
  const auto one_step = arrays.find("one_step");
  if (one_step == arrays.end()) return {original, input, image_size, false};
  if (one_step->second.type != "|b1" || one_step->second.bytes.size() != 1) throw std::runtime_error("no one_step");
  return {original, input, image_size, one_step->second.bytes[0] != 0};
}

Tensors tensors_of(const StoredArrays& arrays, int image_size) {
  Tensors tensors;
  for (const auto& [name, array] : arrays) {
    if (sizes.count(name) != 0) continue;
    if (array.type != "<f4") throw std::runtime_error(text("'", name, "' of ", array.type));
    Tensor tensor{array.shape, std::vector<float>(array.bytes.size() / sizeof(float))};
    std::memcpy(tensor.data.data(), array.bytes.data(), array.bytes.size());
    if (!std::all_of(tensor.data.begin(), tensor.data.end(), [](float value) { return std::isfinite(value); })) {
      throw std::runtime_error(text("'", name, "' is not finite"));
    }
    tensors[name] = std::move(tensor);
  }
  if (tensors.empty()) throw std::runtime_error("no features");
  const std::int64_t cells = image_size / 16;
  const auto features = tensors.find("image_embeddings");
  if (features != tensors.end()) {
    const Shape& shape = features->second.shape;
    if (shape.size() != 4 || shape[0] != 1 || shape[2] != cells || shape[3] != cells) {
      throw std::runtime_error(text("features of another shape than for ", image_size, " pixels"));
    }
  }
  return tensors;
}

}  // namespace

void save_embedding(const EmbeddingData& embedding, const fs::path& path) {
  const std::int64_t image_size = embedding.transform.image_size;
  const std::uint8_t one_step = embedding.transform.one_step ? 1 : 0;
  StoredArrays arrays{{"original_size", stored(embedding.transform.original)},
                      {"input_size", stored(embedding.transform.input)},
                      {"image_size", stored("<i8", {}, &image_size)},
                      {"one_step", stored("|b1", {}, &one_step)}};
  for (const auto& [name, tensor] : embedding.tensors) arrays[name] = stored("<f4", tensor.shape, tensor.data.data());
  write_file(path, write_npz(arrays));
}

std::shared_ptr<const EmbeddingData> load_embedding(const fs::path& path) {
  // A pipe would wait for somebody to write.
  std::error_code none;
  std::ifstream file;
  if (fs::is_regular_file(path, none)) file.open(path, std::ios::binary);
  if (!file.is_open()) {
    refuse(Fault::input, "embedding '", path.string(), "' cannot be read; check the path.");
  }
  const std::string archive{std::istreambuf_iterator<char>(file), {}};
  try {
    const StoredArrays arrays = read_npz(archive);
    const Transform transform = transform_of(arrays);
    return std::make_shared<const EmbeddingData>(tensors_of(arrays, transform.image_size), transform);
  } catch (const std::exception& error) {  // a file of somebody else's fails in any way
    refuse(Fault::input, "'", path.string(), "' is not a saved embedding (", reason(error),
           "); expected a file written by Embedding.save.");
  }
}

}  // namespace internal

Embedding::Embedding(std::shared_ptr<const internal::EmbeddingData> data) : data_(std::move(data)) {}
const internal::EmbeddingData& Embedding::data() const { return *data_; }
Size Embedding::size() const { return data_->transform.original; }
void Embedding::save(const std::string& path) const { internal::save_embedding(*data_, path); }
Embedding Embedding::load(const std::string& path) { return Embedding(internal::load_embedding(path)); }

}  // namespace samdeploy

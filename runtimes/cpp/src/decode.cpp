#include "decode.hpp"

#include <algorithm>
#include <atomic>

namespace samdeploy::internal {
namespace {

std::atomic<std::uint64_t> models{0};

/// Some of the first axis.
Tensor picked(const Tensor& tensor, const std::vector<std::size_t>& rows) {
  const std::size_t length = tensor.data.size() / static_cast<std::size_t>(tensor.shape[0]);
  Tensor out{tensor.shape, {}};
  out.shape[0] = static_cast<std::int64_t>(rows.size());
  out.data.reserve(rows.size() * length);
  for (std::size_t row : rows) {
    const auto from = tensor.data.begin() + static_cast<std::ptrdiff_t>(row * length);
    out.data.insert(out.data.end(), from, from + static_cast<std::ptrdiff_t>(length));
  }
  return out;
}

/// The first lines and columns of `[outer, rows, columns, inner]`.
std::vector<float> corner(const Tensor& tensor, std::int64_t rows, std::int64_t columns, std::int64_t inner,
                          std::int64_t height, std::int64_t width) {
  const auto outer = static_cast<std::int64_t>(tensor.data.size()) / (rows * columns * inner);
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(outer * height * width * inner));
  for (std::int64_t i = 0; i < outer; i++) {
    for (std::int64_t y = 0; y < height; y++) {
      const auto from = tensor.data.begin() + (i * rows + y) * columns * inner;
      out.insert(out.end(), from, from + width * inner);
    }
  }
  return out;
}

}  // namespace

Decoding::Decoding(const Graphs& graphs, const Family& family) : graphs_(graphs), family_(family), number_(++models) {}

Answer Decoding::decode(const EmbeddingData& embedding, const PromptTensors& prompts) const {
  return is_split() && !prompts.masked ? score(embedding, prompts) : plain(embedding, prompts);
}

bool Decoding::is_split() const { return graphs_.count("prepare") != 0; }

Answer Decoding::plain(const EmbeddingData& embedding, const PromptTensors& prompts) const {
  Feeds feeds;
  add(feeds, embedding.tensors);
  add(feeds, prompts.tensors);
  Tensors answer = graphs_.at("decoder").run(feeds);
  auto masks = std::make_shared<const Tensor>(std::move(answer.at("low_res_masks")));
  return {std::move(answer.at("iou_predictions")),
          [masks](const std::vector<std::size_t>& rows, Size) { return picked(*masks, rows); }};
}

std::shared_ptr<const Tensors> Decoding::prepared(const EmbeddingData& embedding) const {
  const std::lock_guard<std::mutex> turn(embedding.preparing);
  if (embedding.prepared_by != number_) {
    Feeds feeds;
    add(feeds, embedding.tensors);
    embedding.prepared = std::make_shared<const Tensors>(graphs_.at("prepare").run(feeds));
    embedding.prepared_by = number_;
  }
  return embedding.prepared;
}

Answer Decoding::score(const EmbeddingData& embedding, const PromptTensors& prompts) const {
  const auto shared = prepared(embedding);
  Feeds feeds;
  add(feeds, *shared);
  add(feeds, prompts.tensors);
  auto scored = std::make_shared<Tensors>(graphs_.at("scorer").run(feeds));
  Tensor iou = std::move(scored->at("iou_predictions"));
  const auto masks = [this, shared, scored](const std::vector<std::size_t>& rows, Size cells) {
    const Shape& grid = shared->at("image_features").shape;
    // A cell is a quarter of a token; interpolation also reads the one behind the last.
    const std::int64_t behind = 1 + family_.halo;
    const std::int64_t height = std::min(grid[0], (cells.height + behind + 3) / 4);
    const std::int64_t width = std::min(grid[1], (cells.width + behind + 3) / 4);
    Tensors inputs;
    for (const char* name : {"mask_tokens", "mask_values"}) inputs[name] = picked(scored->at(name), rows);
    for (const char* name : {"mask_scale", "mask_weights"}) {
      const Tensor some = picked(scored->at(name), rows);
      inputs[name] = {{some.shape[0], some.shape[1], height * width}, corner(some, grid[0], grid[1], 1, height, width)};
    }
    Names of_image = family_.tokens;
    of_image.emplace_back("image_features");
    for (const std::string& name : of_image) {
      const Tensor& all = shared->at(name);
      inputs[name] = {{height, width, all.shape[2]}, corner(all, grid[0], grid[1], all.shape[2], height, width)};
    }
    Feeds fed;
    add(fed, inputs);
    return std::move(graphs_.at("mask_head").run(fed).at("low_res_masks"));
  };
  return {std::move(iou), masks};
}

std::size_t single_mask(bool stable, const float* logits, std::size_t cells, const float* iou, std::size_t outputs) {
  // SAM 2's shift of the threshold, in logits, and the score from which on its single-mask output answers.
  constexpr float offset = 0.05F;
  constexpr float least = 0.98F;
  if (!stable) return 0;
  const auto above = [&](float threshold) {
    return std::count_if(logits, logits + cells, [&](float logit) { return logit > threshold; });
  };
  const auto outer = above(-offset);
  // An empty mask is as stable as can be.
  if (outer == 0 || static_cast<float>(static_cast<double>(above(offset)) / static_cast<double>(outer)) >= least) {
    return 0;
  }
  return static_cast<std::size_t>(std::max_element(iou + 1, iou + outputs) - iou);
}

}  // namespace samdeploy::internal

// The kernels on shapes of every kind, for what sanitizers see: no answer may depend on what lies behind an array, on
// the other prompts of a call, or on how the image is cut into tiles. Python's tests compare them with the reference.

#include "../kernels/kernels.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"

namespace {

constexpr int kTile = 64;

struct Tensor {
  std::string name;
  std::vector<long long> shape;
  std::vector<float> data;
};

class Weights {
 public:
  Weights(int channels, int heads, bool score) {
    add("prompt_encoder.not_a_point_embed.weight", {1, channels});
    for (int i = 0; i < 4; ++i) add("prompt_encoder.point_embeddings." + std::to_string(i) + ".weight", {1, channels});
    add("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", {2, channels / 2});
    const std::string decoder = "mask_decoder.", transformer = decoder + "transformer.";
    if (score) add(decoder + "obj_score_token.weight", {1, channels});
    add(decoder + "iou_token.weight", {1, channels});
    add(decoder + "mask_tokens.weight", {4, channels});
    for (const std::string& layer : {transformer + "layers.0.", transformer + "layers.1."}) {
      attention(layer + "self_attn", channels, channels);
      attention(layer + "cross_attn_token_to_image", channels, channels / 2);
      attention(layer + "cross_attn_image_to_token", channels, channels / 2);
      for (const char* norm : {"norm1", "norm2", "norm3", "norm4"}) linear(layer + norm, channels, 0);
      linear(layer + "mlp.lin1", 40, channels);
      linear(layer + "mlp.lin2", channels, 40);
    }
    attention(transformer + "final_attn_token_to_image", channels, channels / 2);
    linear(transformer + "norm_final_attn", channels, 0);
    head(decoder + "iou_prediction_head", channels, 4);
    if (score) head(decoder + "pred_obj_score_head", channels, 1);
    for (int i = 0; i < 4; ++i)
      head(decoder + "output_hypernetworks_mlps." + std::to_string(i), channels, channels / 8);
    const std::string up = decoder + "output_upscaling.";
    add(up + "0.weight", {channels, channels / 4, 2, 2});
    add(up + "0.bias", {channels / 4});
    linear(up + "1", channels / 4, 0);
    add(up + "3.weight", {channels / 4, channels / 8, 2, 2});
    add(up + "3.bias", {channels / 8});
    heads_ = heads;
  }

  samk_model* open(std::string& why) const {
    std::vector<samk_tensor> given;
    for (const Tensor& t : tensors)
      given.push_back({t.name.c_str(), t.data.data(), t.shape.data(), static_cast<int>(t.shape.size())});
    char text[256] = "";
    samk_model* model = samk_open(given.data(), static_cast<int>(given.size()), 160, heads_, text, sizeof text);
    why = text;
    return model;
  }

  std::vector<Tensor> tensors;

 private:
  void add(const std::string& name, std::vector<long long> shape) {
    size_t count = 1;
    for (const long long side : shape) count *= static_cast<size_t>(side);
    Tensor tensor{name, std::move(shape), std::vector<float>(count)};
    std::normal_distribution<float> normal(0, 0.2f);
    for (float& value : tensor.data) value = normal(random_);
    tensors.push_back(std::move(tensor));
  }
  void linear(const std::string& name, int out, int in) {
    add(name + ".weight", in ? std::vector<long long>{out, in} : std::vector<long long>{out});
    add(name + ".bias", {out});
  }
  void attention(const std::string& name, int channels, int inner) {
    for (const char* part : {".q_proj", ".k_proj", ".v_proj"}) linear(name + part, inner, channels);
    linear(name + ".out_proj", channels, inner);
  }
  void head(const std::string& name, int channels, int out) {
    linear(name + ".layers.0", channels, channels);
    linear(name + ".layers.1", out, channels);
  }

  std::mt19937 random_{7};
  int heads_ = 0;
};

std::vector<float> numbers(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

struct Answer {
  std::vector<float> iou, score, tokens, scale, weights, values, masks;
};

// Exactly as much room as the kernels are told of, so that a sanitizer sees what goes beyond.
Answer answer(const samk_model* model, int rows, int columns, int prompts, int points, bool finer, unsigned seed) {
  const samk_sizes sizes = samk_size(model);
  const int width = sizes.inner / sizes.heads, lanes = samk_lanes();
  const int padded = (width + lanes - 1) / lanes * lanes;
  const long positions = static_cast<long>(rows) * columns;
  const size_t tiles = static_cast<size_t>((positions + kTile - 1) / kTile);
  const auto keys = numbers(tiles * 11 * sizes.inner * kTile, 1);
  const auto image_values = numbers(tiles * 3 * sizes.heads * kTile * padded, 2);
  auto norms = numbers(tiles * 3 * kTile, 3);
  for (float& value : norms) value = 100 + std::fabs(value);  // mean squares
  const size_t count = static_cast<size_t>(samk_values(model, points)), all = static_cast<size_t>(prompts);
  Answer a;
  a.iou.resize(all * sizes.masks);
  a.score.resize(all);
  a.tokens.resize(all * sizes.masks * sizes.channels);
  a.scale.resize(all * positions);
  a.weights.resize(all * count * positions);
  a.values.resize(all * count * sizes.channels);
  a.masks.resize(all * sizes.masks * 16 * positions);
  auto coords = numbers(all * points * 2, seed);
  std::vector<float> labels(all * points);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<float>(static_cast<int>(i % 6) - 2);
  check(samk_score(model, keys.data(), image_values.data(), norms.data(), positions, coords.data(), labels.data(),
                   prompts, points, a.iou.data(), a.score.data(), a.tokens.data(), a.scale.data(), a.weights.data(),
                   a.values.data()) == 0,
        "scored");
  const auto features = numbers(tiles * sizes.channels * kTile, 4);
  const auto middle = numbers(tiles * sizes.channels * kTile, 5), fine = numbers(tiles * 2 * sizes.channels * kTile, 6);
  check(samk_masks(model, features.data(), finer ? middle.data() : nullptr, finer ? fine.data() : nullptr, rows,
                   columns, a.tokens.data(), a.scale.data(), a.weights.data(), a.values.data(), prompts,
                   static_cast<int>(count), a.masks.data()) == 0,
        "masks");
  for (const auto* part : {&a.iou, &a.tokens, &a.scale, &a.weights, &a.values, &a.masks})
    check(std::all_of(part->begin(), part->end(), [](float value) { return std::isfinite(value); }), "finite answers");
  return a;
}

void shapes() {
  for (const bool score : {false, true})
    for (const int heads : {2, 8}) {
      std::string why;
      samk_model* model = Weights(32, heads, score).open(why);
      check(model != nullptr, "a decoder is opened, not: " + why);
      if (!model) return;
      for (const auto& [rows, columns] : {std::pair{1, 1}, {5, 5}, {8, 8}, {9, 8}, {3, 43}})
        for (const int points : {1, 2, 9}) {
          const Answer two = answer(model, rows, columns, 2, points, score, 8);
          const Answer one = answer(model, rows, columns, 1, points, score, 8);
          check(std::equal(one.masks.begin(), one.masks.end(), two.masks.begin()), "masks alone are those of two");
          check(std::equal(one.iou.begin(), one.iou.end(), two.iou.begin()), "ratings alone are those of two");
        }
      samk_close(model);
    }
}

// What is not a decoder's is refused, whatever is wrong with it.
void refusals() {
  const Weights sound(32, 8, true);
  std::string why;
  for (size_t i = 0; i < sound.tensors.size(); ++i) {
    const std::string name = sound.tensors[i].name;
    Weights lacking = sound;
    lacking.tensors.erase(lacking.tensors.begin() + static_cast<long>(i));
    // Without its token it is a SAM, which has no use for the head.
    if (name == "mask_decoder.obj_score_token.weight") continue;
    check(lacking.open(why) == nullptr && !why.empty(), "refused without " + name);
    Weights longer = sound;
    longer.tensors[i].shape[0] += 1;
    longer.tensors[i].data.resize(2 * longer.tensors[i].data.size() + 4096);
    check(longer.open(why) == nullptr, "refused with a longer " + name);
    Weights flat = sound;
    flat.tensors[i].shape = {static_cast<long long>(flat.tensors[i].data.size()), 1, 1, 1, 1};
    check(flat.open(why) == nullptr, "refused with another rank of " + name);
  }
  check(Weights(24, 8, false).open(why) == nullptr && why.find("24 channels") != std::string::npos,
        "channels, not: " + why);
}

}  // namespace

int main() {
  if (*samk_instructions() == '\0') return 0;
  shapes();
  refusals();
  return failures();
}

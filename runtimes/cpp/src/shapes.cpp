#include "shapes.hpp"

namespace samdeploy::internal {

std::map<std::string, Sides> shapes_of(const std::string& role, std::int64_t side, std::int64_t channels) {
  const auto number = [](std::int64_t value) { return std::to_string(value); };
  const std::string grid = number(side / 16);
  const std::string low = number(side / 4);
  const std::string half = number(side / 8);
  const std::string tokens = number((side / 16) * (side / 16));
  const std::string all = number(channels);
  const std::string any;
  // A mask of an answer, and three candidates.
  const std::string outputs = "4";
  const Sides whole{"prompts", outputs, low, low};
  const Sides part{"prompts", outputs, "height", "width"};
  return {
      {"image", {"1", "3", number(side), number(side)}},
      {"image_embeddings", {"1", all, grid, grid}},
      {"hq_features", {"1", number(channels / 8), low, low}},
      {"high_res_feats_0", {"1", number(channels / 8), low, low}},
      {"high_res_feats_1", {"1", number(channels / 4), half, half}},
      {"point_coords", {"prompts", "points", "2"}},
      {"point_labels", {"prompts", "points"}},
      {"mask_input", {"prompts", "1", low, low}},
      {"has_mask_input", {"prompts"}},
      {"low_res_masks", role == "mask_head" ? part : whole},
      {"iou_predictions", {"prompts", outputs}},
      {"object_score_logits", {"prompts", "1"}},
      {"image_keys", {"11", any, any, tokens}},
      {"image_values", {"3", any, tokens, any}},
      {"image_norms", {"3", tokens}},
      {"image_features", {"rows", "columns", all}},
      {"hq_tokens", {"rows", "columns", number(2 * channels)}},
      {"high_res_tokens_0", {"rows", "columns", number(2 * channels)}},
      {"high_res_tokens_1", {"rows", "columns", all}},
      {"mask_tokens", {"prompts", any, all}},
      {"mask_scale", {"prompts", "1", "positions"}},
      {"mask_weights", {"prompts", "values", "positions"}},
      {"mask_values", {"prompts", "values", all}},
  };
}

bool CallSizes::fit(const Sides& told, const Tensor& tensor) {
  if (tensor.shape.size() != told.size() || tensor.data.size() != count(tensor.shape)) return false;
  for (std::size_t i = 0; i < told.size(); i++) {
    const std::int64_t found = tensor.shape[i];
    if (is_number(told[i]) ? std::to_string(found) != told[i]
                           : found < 1 || sizes_.emplace(told[i], found).first->second != found) {
      return false;
    }
  }
  return true;
}

void CallSizes::imply(std::int64_t grid) {
  const std::int64_t rows = sizes_.emplace("rows", grid).first->second;
  const std::int64_t columns = sizes_.emplace("columns", grid).first->second;
  sizes_.emplace("positions", rows * columns);
  // A token has four cells of a mask along every side.
  sizes_["height"] = 4 * rows;
  sizes_["width"] = 4 * columns;
}

}  // namespace samdeploy::internal

#include "families.hpp"

#include <map>

namespace samdeploy::internal {
namespace {

Names joined(Names names, const Names& more) {
  names.insert(names.end(), more.begin(), more.end());
  return names;
}

Family sam() {
  Family family;
  family.name = "sam";
  family.features = {"image_embeddings"};
  return family;
}

Family sam_hq() {
  Family family = sam();
  family.name = "sam_hq";
  family.halo = 2;
  family.whole_image.best_only = true;
  family.features.emplace_back("hq_features");
  family.tokens = {"hq_tokens"};
  return family;
}

Family sam2() {
  Family family = sam();
  family.name = "sam2";
  family.steps.square = true;
  family.steps.rounding = Rounding::none;
  family.always_padded = true;
  family.largest_logit = 32;
  family.stable_single_mask = true;
  family.whole_image.conf_thres = 0.8;
  family.features = joined(family.features, {"high_res_feats_0", "high_res_feats_1"});
  family.tokens = {"high_res_tokens_0", "high_res_tokens_1"};
  family.answers = {"object_score_logits"};
  return family;
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> all{sam(), sam_hq(), sam2()};
  return all;
}

GraphNames tensors_of(const Family& family, const std::string& role) {
  const Names prompts{"point_coords", "point_labels"};
  const Names shared{"image_keys", "image_values", "image_norms"};
  const Names wanted{"mask_tokens", "mask_scale", "mask_weights", "mask_values"};
  const Names image = joined({"image_features"}, family.tokens);
  const std::map<std::string, GraphNames> all{
      {"encoder", {{"image"}, family.features}},
      {"decoder",
       {joined(joined(family.features, prompts), {"mask_input", "has_mask_input"}),
        joined({"low_res_masks", "iou_predictions"}, family.answers)}},
      {"prepare", {family.features, joined(shared, image)}},
      {"scorer", {joined(shared, prompts), joined(joined({"iou_predictions"}, wanted), family.answers)}},
      {"mask_head", {joined(image, wanted), {"low_res_masks"}}},
  };
  return all.at(role);
}

}  // namespace samdeploy::internal

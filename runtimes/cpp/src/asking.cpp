#include "asking.hpp"

#include <algorithm>
#include <numeric>

namespace samdeploy::internal {
namespace {

/// Logit of what is not made: the part of a low-res mask that is all padding.
constexpr float outside = -8;
/// Logits of a mask that is a prompt again are cut off here.
constexpr float most_logit = 32;

/// One prompt of a single foreground point each.
PromptTensors grid_prompts(const std::vector<Point>& points, const Transform& transform) {
  const auto count = static_cast<std::int64_t>(points.size());
  const std::int64_t side = transform.low_res_side();
  Tensor coords{{count, 2, 2}, std::vector<float>(points.size() * 4)};
  Tensor labels{{count, 2}, {}};
  for (std::size_t i = 0; i < points.size(); i++) {
    const Point at = transform.to_input(points[i]);
    coords.data[4 * i] = static_cast<float>(at.x);
    coords.data[4 * i + 1] = static_cast<float>(at.y);
    labels.data.push_back(foreground);
    labels.data.push_back(padding);
  }
  Tensor masks{{count, 1, side, side}, std::vector<float>(points.size() * static_cast<std::size_t>(side * side))};
  Tensor has{{count}, std::vector<float>(points.size())};
  return {{{"point_coords", std::move(coords)},
           {"point_labels", std::move(labels)},
           {"mask_input", std::move(masks)},
           {"has_mask_input", std::move(has)}},
          false};
}

/// The prompts of some masks once more, each with its logits.
PromptTensors with_masks(const PromptTensors& prompts, const Confident* batch, std::size_t size) {
  PromptTensors again;
  again.masked = true;
  for (const char* name : {"point_coords", "point_labels"}) {
    const Tensor& all = prompts.tensors.at(name);
    const auto length = static_cast<std::ptrdiff_t>(all.data.size()) / all.shape[0];
    Tensor own{all.shape, {}};
    own.shape[0] = static_cast<std::int64_t>(size);
    for (std::size_t i = 0; i < size; i++) {
      const auto from = all.data.begin() + static_cast<std::ptrdiff_t>(batch[i].owner) * length;
      own.data.insert(own.data.end(), from, from + length);
    }
    again.tensors[name] = std::move(own);
  }
  Tensor masks{prompts.tensors.at("mask_input").shape, {}};
  masks.shape[0] = static_cast<std::int64_t>(size);
  for (std::size_t i = 0; i < size; i++) {
    for (float logit : batch[i].logits) masks.data.push_back(std::clamp(logit, -most_logit, most_logit));
  }
  again.tensors["mask_input"] = std::move(masks);
  again.tensors["has_mask_input"] = {{static_cast<std::int64_t>(size)}, std::vector<float>(size, 1)};
  return again;
}

std::vector<std::size_t> every(std::size_t count) {
  std::vector<std::size_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

/// The best rated of the outputs of a prompt, but for the single-mask one.
std::size_t best_of(const float* iou, std::size_t outputs) {
  return static_cast<std::size_t>(std::max_element(iou + 1, iou + outputs) - iou);
}

}  // namespace

std::vector<Confident> Asking::ask(const std::vector<Point>& points) const {
  const PromptTensors prompts = grid_prompts(points, embedding_.transform);
  const Answer answer = decoding_.decode(embedding_, prompts);
  if (!settings_.use_m2m && settings_.multimask_output) return candidates(answer);
  auto found = settings_.use_m2m ? refined(prompts, answer) : single(answer);
  found.erase(
      std::remove_if(found.begin(), found.end(), [&](const Confident& each) { return !is_confident(each.iou); }),
      found.end());
  return found;
}

/// The single-mask output is for prompts that leave no doubt; one point does, so it is left out.
std::vector<Confident> Asking::candidates(const Answer& answer) const {
  const auto count = static_cast<std::size_t>(answer.iou.shape[0]);
  const auto outputs = static_cast<std::size_t>(answer.iou.shape[1]);
  std::vector<std::pair<std::size_t, std::size_t>> wanted;
  // Masks are made only for prompts that have a confident one.
  std::vector<std::size_t> rows;
  for (std::size_t row = 0; row < count; row++) {
    const float* iou = answer.iou.data.data() + row * outputs;
    const std::size_t best = best_of(iou, outputs);
    for (std::size_t output = 1; output < outputs; output++) {
      if ((settings_.best_only && output != best) || !is_confident(iou[output])) continue;
      wanted.emplace_back(row, output);
      if (rows.empty() || rows.back() != row) rows.push_back(row);
    }
  }
  if (wanted.empty()) return {};
  const Tensor made = answer.masks(rows, embedding_.transform.low_res_size());
  std::vector<Confident> found;
  for (const auto& [row, output] : wanted) {
    const auto place = static_cast<std::size_t>(std::find(rows.begin(), rows.end(), row) - rows.begin());
    found.push_back({whole(made, place, output), answer.iou.data[row * outputs + output], row});
  }
  return found;
}

/// The mask of every prompt that answers when one is asked for.
std::vector<Confident> Asking::single(const Answer& answer) const {
  const auto count = static_cast<std::size_t>(answer.iou.shape[0]);
  const auto outputs = static_cast<std::size_t>(answer.iou.shape[1]);
  const int side = embedding_.transform.low_res_side();
  const Tensor made = answer.masks(every(count), {side, side});
  const std::size_t cells = made.data.size() / (count * outputs);
  std::vector<Confident> found;
  for (std::size_t row = 0; row < count; row++) {
    const float* iou = answer.iou.data.data() + row * outputs;
    const float* logits = made.data.data() + row * outputs * cells;
    const std::size_t output = single_mask(family_.stable_single_mask, logits, cells, iou, outputs);
    found.push_back({whole(made, row, output), iou[output], row});
  }
  return found;
}

/// All candidates of all prompts, or the best of each.
std::vector<Confident> Asking::ambiguous(const Answer& answer) const {
  const auto count = static_cast<std::size_t>(answer.iou.shape[0]);
  const auto outputs = static_cast<std::size_t>(answer.iou.shape[1]);
  const int side = embedding_.transform.low_res_side();
  const Tensor made = answer.masks(every(count), {side, side});
  std::vector<Confident> found;
  for (std::size_t row = 0; row < count; row++) {
    const float* iou = answer.iou.data.data() + row * outputs;
    const std::size_t best = best_of(iou, outputs);
    for (std::size_t output = 1; output < outputs; output++) {
      if (!settings_.best_only || output == best) found.push_back({whole(made, row, output), iou[output], row});
    }
  }
  return found;
}

/// Every mask once more, with its logits beside its point.
std::vector<Confident> Asking::refined(const PromptTensors& prompts, const Answer& answer) const {
  const auto earlier = settings_.multimask_output ? ambiguous(answer) : single(answer);
  const auto per_call = static_cast<std::size_t>(answer.iou.shape[0]);
  std::vector<Confident> found;
  for (std::size_t start = 0; start < earlier.size(); start += per_call) {
    const std::size_t size = std::min(per_call, earlier.size() - start);
    const Confident* batch = earlier.data() + start;
    const PromptTensors again = with_masks(prompts, batch, size);
    for (Confident& each : single(decoding_.decode(embedding_, again))) {
      each.owner = batch[each.owner].owner;
      found.push_back(std::move(each));
    }
  }
  return found;
}

/// One mask of an answer, `side x side`, wherever it was not made outside.
std::vector<float> Asking::whole(const Tensor& masks, std::size_t row, std::size_t output) const {
  const auto outputs = static_cast<std::size_t>(masks.shape[1]);
  const auto height = static_cast<std::size_t>(masks.shape[2]);
  const auto width = static_cast<std::size_t>(masks.shape[3]);
  const auto side = static_cast<std::size_t>(embedding_.transform.low_res_side());
  const float* made = masks.data.data() + (row * outputs + output) * height * width;
  std::vector<float> logits(side * side, outside);
  for (std::size_t y = 0; y < height; y++) std::copy_n(made + y * width, width, logits.data() + y * side);
  return logits;
}

bool Asking::is_confident(float iou) const {
  return settings_.conf_thres <= 0 || iou > static_cast<float>(settings_.conf_thres);
}

}  // namespace samdeploy::internal

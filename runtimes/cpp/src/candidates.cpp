#include "candidates.hpp"

#include <algorithm>
#include <cmath>

#include "boxes.hpp"
#include "interpolation.hpp"

namespace samdeploy::internal {

std::size_t logit_bytes(const Candidate& candidate) {
  const auto* patch = std::get_if<Patch>(&candidate.mask);
  return patch == nullptr ? 0 : patch->logits.size() * sizeof(float);
}

std::vector<Candidate> Selector::select(const std::vector<Confident>& decoded, const std::vector<std::size_t>& indices,
                                        int first) const {
  std::vector<Candidate> found;
  for (const Confident& each : decoded) {
    const std::size_t index = indices[each.owner];
    Candidate candidate;
    candidate.score = each.iou;
    candidate.point = {crop_.points[index].x + crop_.box.x1, crop_.points[index].y + crop_.box.y1};
    candidate.prompt = first + static_cast<int>(index);
    candidate.crop = crop_.box;
    const float* logits = each.logits.data();
    const bool good = settings_.exact ? judge_exactly(logits, candidate) : judge(logits, candidate);
    if (good) found.push_back(std::move(candidate));
  }
  return found;
}

/// On low-res logits; only where these leave a doubt the mask is made.
bool Selector::judge(const float* logits, Candidate& candidate) const {
  const auto offset = static_cast<float>(settings_.stability_score_offset);
  const double least = settings_.stability_score_thresh;
  const auto [estimate, doubt] = upscaler_.estimate_stability(logits, offset);
  const bool close = least > 0 && std::abs(static_cast<double>(estimate) - least) <= static_cast<double>(doubt);
  candidate.stability = close ? upscaler_.stability(logits, offset) : estimate;
  if (!is_steady(candidate.stability)) return false;
  candidate.mask = upscaler_.cut(logits);
  candidate.box = moved(upscaler_.box(logits));
  if (!is_cut_off(candidate.box)) return true;
  // The box may be too large: the mask's own tells.
  candidate = encode(std::move(candidate));
  return candidate.runs().area() > 0 && !is_cut_off(candidate.box);
}

/// At the crop's full size, for which every mask is made.
bool Selector::judge_exactly(const float* logits, Candidate& candidate) const {
  const Size size = transform_.original;
  const auto width = static_cast<std::size_t>(size.width);
  const auto offset = static_cast<float>(settings_.stability_score_offset);
  Bitmap bitmap(pixels(size));
  std::int64_t inner = 0;
  std::int64_t outer = 0;
  each_image_row(logits, transform_, [&](const float* row, int y) {
    std::uint8_t* to = bitmap.data() + static_cast<std::size_t>(y) * width;
    for (std::size_t x = 0; x < width; x++) {
      inner += row[x] > mask_threshold + offset ? 1 : 0;
      outer += row[x] > mask_threshold - offset ? 1 : 0;
      to[x] = row[x] > mask_threshold ? 1 : 0;
    }
  });
  candidate.stability = static_cast<float>(static_cast<double>(inner) / static_cast<double>(outer));
  if (!is_steady(candidate.stability)) return false;
  candidate.box = moved(Runs::encode(bitmap, size).box());
  if (is_cut_off(candidate.box)) return false;
  candidate.mask =
      Runs::encode_part(bitmap, size, static_cast<int>(crop_.box.y1), static_cast<int>(crop_.box.x1), image_);
  return true;
}

Candidate Selector::encode(Candidate candidate) const {
  if (const auto* patch = std::get_if<Patch>(&candidate.mask)) {
    candidate.mask = upscaler_.encode(*patch, static_cast<int>(crop_.box.y1), static_cast<int>(crop_.box.x1), image_);
  }
  candidate.box = candidate.runs().box();
  return candidate;
}

std::vector<Candidate> Selector::best(std::vector<Candidate> found) const {
  const double threshold = settings_.nms_thresh;
  std::vector<Candidate> kept;
  const auto overlaps = [&](const Box& box, const Candidate& better) {
    return static_cast<double>(box_iou(box, better.box)) > threshold;
  };
  std::vector<float> scores;
  for (const Candidate& candidate : found) scores.push_back(candidate.score);
  for (std::size_t i : by_score(scores)) {
    Candidate& candidate = found[i];
    const Box inner = inner_box(candidate);
    const bool duplicate = std::any_of(kept.begin(), kept.end(), [&](const Candidate& better) {
      return overlaps(candidate.box, better) && least_iou(inner, candidate.box, better.box) > threshold;
    });
    if (duplicate) continue;
    Candidate one = encode(std::move(candidate));
    if (std::none_of(kept.begin(), kept.end(), [&](const Candidate& better) { return overlaps(one.box, better); })) {
      kept.push_back(std::move(one));
    }
  }
  return kept;
}

/// A box that the box of a mask holds, as `candidate.box` holds it.
Box Selector::inner_box(const Candidate& candidate) const {
  const auto* patch = std::get_if<Patch>(&candidate.mask);
  return patch == nullptr ? candidate.box : moved(upscaler_.inner_box(*patch));
}

Box Selector::moved(const Box& box) const {
  const double left = crop_.box.x1;
  const double top = crop_.box.y1;
  return {box.x1 + left, box.y1 + top, box.x2 + left, box.y2 + top};
}

bool Selector::is_steady(float score) const {
  const double least = settings_.stability_score_thresh;
  return least <= 0 || score >= static_cast<float>(least);
}

bool Selector::is_cut_off(const Box& box) const { return near_crop_edge(box, crop_.box, image_); }

}  // namespace samdeploy::internal

#include "boxes.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace samdeploy::internal {
namespace {

double area_of(const Box& box) { return (box.x2 - box.x1) * (box.y2 - box.y1); }

double overlap(const Box& a, const Box& b) {
  return std::max(0.0, std::min(a.x2, b.x2) - std::max(a.x1, b.x1)) *
         std::max(0.0, std::min(a.y2, b.y2) - std::max(a.y1, b.y1));
}

}  // namespace

float box_iou(const Box& a, const Box& b) {
  const double shared = overlap(a, b);
  const auto either = static_cast<float>(area_of(a) + area_of(b) - shared);
  return static_cast<float>(shared / static_cast<double>(either));
}

double least_iou(const Box& inner, const Box& outer, const Box& box) {
  const double shared = overlap(inner, box);
  return shared / std::max(area_of(outer) + area_of(box) - shared, 1.0);
}

std::vector<std::size_t> by_score(const std::vector<float>& scores) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  return order;
}

std::vector<std::size_t> nms(const std::vector<Box>& boxes, const std::vector<float>& scores, double threshold) {
  std::vector<std::size_t> kept;
  for (std::size_t i : by_score(scores)) {
    const bool duplicate = std::any_of(kept.begin(), kept.end(), [&](std::size_t better) {
      return static_cast<double>(box_iou(boxes[better], boxes[i])) > threshold;
    });
    if (!duplicate) kept.push_back(i);
  }
  return kept;
}

bool near_crop_edge(const Box& box, const Box& crop, Size image) {
  constexpr double margin = 20;
  const std::array<double, 4> sides{box.x1, box.y1, box.x2, box.y2};
  const std::array<double, 4> own{crop.x1, crop.y1, crop.x2, crop.y2};
  const std::array<double, 4> whole{0, 0, static_cast<double>(image.width), static_cast<double>(image.height)};
  for (std::size_t i = 0; i < 4; i++) {
    if (std::abs(sides[i] - own[i]) <= margin && std::abs(sides[i] - whole[i]) > margin) return true;
  }
  return false;
}

}  // namespace samdeploy::internal

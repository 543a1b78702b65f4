#include "prompts.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "resize.hpp"
#include "text.hpp"

namespace samdeploy::internal {
namespace {

constexpr float binary_logit = 8;
/// Boxes of detectors may end this many pixels beyond the image; what is beyond is cut off.
constexpr double box_slack = 1;

struct Token {
  Point at;
  Label label;
};

void check_inside(Point point, Size size, const char* what) {
  if (point.x >= 0 && point.y >= 0 && point.x <= size.width && point.y <= size.height) return;
  refuse(Fault::input, what, " (", point.x, ", ", point.y, ") is outside the image; expected 0 <= x <= ", size.width,
         " and 0 <= y <= ", size.height, " in pixels.");
}

void check_finite(std::initializer_list<double> values, const char* what) {
  if (std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); })) return;
  refuse(Fault::input, what, " has a value that is not finite; expected pixels.");
}

/// Corners of a box, moved into the image if they are close to it.
std::array<Point, 2> corners_of(const Box& box, Size size) {
  check_finite({box.x1, box.y1, box.x2, box.y2}, "box");
  const std::array<Point, 2> corners{Point{box.x1, box.y1}, Point{box.x2, box.y2}};
  std::array<Point, 2> inside;
  double off = 0;
  for (std::size_t i = 0; i < 2; i++) {
    inside[i] = {std::clamp(corners[i].x, 0.0, static_cast<double>(size.width)),
                 std::clamp(corners[i].y, 0.0, static_cast<double>(size.height))};
    off = std::max({off, std::abs(corners[i].x - inside[i].x), std::abs(corners[i].y - inside[i].y)});
  }
  if (box.x1 < box.x2 && box.y1 < box.y2 && off > box_slack) {
    for (Point corner : corners) check_inside(corner, size, "box corner");
  }
  if (!(inside[0].x < inside[1].x && inside[0].y < inside[1].y)) {
    refuse(Fault::input, "box [", box.x1, ", ", box.y1, ", ", box.x2, ", ", box.y2,
           "] has no area in the image; expected x1 < x2 and y1 < y2.");
  }
  return inside;
}

std::vector<Token> tokens_of(const Prompt& prompt, const Transform& transform, bool always_padded) {
  const bool has_mask = !prompt.logits.empty() || !prompt.bitmap.empty();
  if (prompt.points.empty() && !prompt.box && !has_mask) {
    refuse(Fault::input, "an empty Prompt; give it points, a box or a mask.");
  }
  if (!prompt.labels.empty() && prompt.labels.size() != prompt.points.size()) {
    refuse(Fault::input, prompt.labels.size(), " labels for ", prompt.points.size(),
           " points; give one label per point.");
  }
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < prompt.points.size(); i++) {
    const Point point = prompt.points[i];
    const int label = prompt.labels.empty() ? foreground : prompt.labels[i];
    if (label != foreground && label != background) {
      refuse(Fault::input, "label ", label, "; expected 1 (foreground) or 0 (background).");
    }
    check_finite({point.x, point.y}, "points");
    check_inside(point, transform.original, "point");
    tokens.push_back({transform.to_input(point), static_cast<Label>(label)});
  }
  if (prompt.box) {
    const auto corners = corners_of(*prompt.box, transform.original);
    const std::array<Token, 2> box{Token{transform.to_input(corners[0]), top_left},
                                   Token{transform.to_input(corners[1]), bottom_right}};
    tokens.insert(always_padded ? tokens.begin() : tokens.end(), box.begin(), box.end());
  }
  if (!tokens.empty() && (always_padded || !prompt.box)) tokens.push_back({{0, 0}, padding});
  return tokens;
}

void check_mask(const Prompt& prompt, const Transform& transform) {
  const auto side = static_cast<std::size_t>(transform.low_res_side());
  if (!prompt.logits.empty() && !prompt.bitmap.empty()) {
    refuse(Fault::input, "a Prompt with logits and a bitmap; give it one of them.");
  }
  if (!prompt.logits.empty() && prompt.logits.size() != side * side) {
    refuse(Fault::input, "a mask of ", prompt.logits.size(), " logits; expected low-res logits, ", side, " x ", side,
           ", or a bitmap at image size.");
  }
  if (!std::all_of(prompt.logits.begin(), prompt.logits.end(), [](float value) { return std::isfinite(value); })) {
    refuse(Fault::input, "a mask has a logit that is not finite; expected numbers.");
  }
  if (!prompt.bitmap.empty() && prompt.bitmap.size() != pixels(transform.original)) {
    refuse(Fault::input, "a mask of ", prompt.bitmap.size(), " pixels; expected the image's ",
           transform.original.height, " x ", transform.original.width, ".");
  }
}

/// A bitmap as the decoder's mask input: averaged into the input frame, then a quarter of it, mapped to +-8.
std::vector<float> bitmap_logits(const std::vector<std::uint8_t>& bitmap, const Transform& transform) {
  std::vector<float> mask(bitmap.size());
  std::transform(bitmap.begin(), bitmap.end(), mask.begin(),
                 [](std::uint8_t pixel) { return pixel != 0 ? 1.0F : 0.0F; });
  const auto covered = resize_area(mask, transform.original, transform.input, 1);
  const auto side = static_cast<std::size_t>(transform.image_size);
  const auto width = static_cast<std::size_t>(transform.input.width);
  std::vector<float> frame(side * side);
  for (std::size_t y = 0; y < static_cast<std::size_t>(transform.input.height); y++) {
    std::copy_n(covered.data() + y * width, width, frame.data() + y * side);
  }
  const int low = transform.low_res_side();
  auto logits = resize_area(frame, {transform.image_size, transform.image_size}, {low, low}, 1);
  for (float& value : logits) value = (2 * value - 1) * binary_logit;
  return logits;
}

}  // namespace

void check_prompts(const std::vector<Prompt>& prompts, const Transform& transform) {
  for (const Prompt& prompt : prompts) {
    tokens_of(prompt, transform, false);
    check_mask(prompt, transform);
  }
}

PromptTensors encode_prompts(const Prompt* prompts, std::size_t count, const Transform& transform,
                             const Family& family) {
  std::vector<std::vector<Token>> tokens;
  std::size_t slots = 1;
  for (std::size_t i = 0; i < count; i++) {
    tokens.push_back(tokens_of(prompts[i], transform, family.always_padded));
    slots = std::max(slots, tokens.back().size());
  }
  const auto rows = static_cast<std::int64_t>(count);
  const std::int64_t side = transform.low_res_side();
  const auto cells = static_cast<std::size_t>(side * side);
  Tensor coords{{rows, static_cast<std::int64_t>(slots), 2}, std::vector<float>(count * slots * 2)};
  Tensor labels{{rows, static_cast<std::int64_t>(slots)}, std::vector<float>(count * slots, absent)};
  Tensor masks{{rows, 1, side, side}, std::vector<float>(count * cells)};
  Tensor has{{rows}, std::vector<float>(count)};
  bool masked = false;
  for (std::size_t i = 0; i < count; i++) {
    for (std::size_t j = 0; j < tokens[i].size(); j++) {
      const std::size_t at = i * slots + j;
      coords.data[2 * at] = static_cast<float>(tokens[i][j].at.x);
      coords.data[2 * at + 1] = static_cast<float>(tokens[i][j].at.y);
      labels.data[at] = static_cast<float>(tokens[i][j].label);
    }
    if (prompts[i].logits.empty() && prompts[i].bitmap.empty()) continue;
    const auto logits = prompts[i].logits.empty() ? bitmap_logits(prompts[i].bitmap, transform) : prompts[i].logits;
    std::transform(logits.begin(), logits.end(), masks.data.begin() + static_cast<std::ptrdiff_t>(i * cells),
                   [&](float value) { return std::clamp(value, -family.largest_logit, family.largest_logit); });
    has.data[i] = 1;
    masked = true;
  }
  return {{{"point_coords", std::move(coords)},
           {"point_labels", std::move(labels)},
           {"mask_input", std::move(masks)},
           {"has_mask_input", std::move(has)}},
          masked};
}

}  // namespace samdeploy::internal

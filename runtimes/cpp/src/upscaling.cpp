#include "upscaling.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace samdeploy::internal {
namespace {

/// Input pixels along a cell.
constexpr int cell_side = 4;
/// How much of the squares that outlines pass may be on the wrong side, where a cell has `fine` pixels or more.
constexpr double rim_error = 0.02;
constexpr double fine = 4;

/// Per output what it takes of every input.
using Taps = std::vector<std::map<int, float>>;

/// Half-pixel centres, the outermost values continued beyond the ends.
Taps interpolation(int length, int new_length) {
  Taps taps(static_cast<std::size_t>(new_length));
  for (int i = 0; i < new_length; i++) {
    const double scale = static_cast<double>(length) / new_length;
    const double centre = std::clamp((i + 0.5) * scale - 0.5, 0.0, length - 1.0);
    const int left = std::min(static_cast<int>(centre), std::max(0, length - 2));
    const double share = centre - left;
    auto& own = taps[static_cast<std::size_t>(i)];
    own[left] = static_cast<float>(1 - share);
    if (share > 0) own[left + 1] = static_cast<float>(share);
  }
  return taps;
}

Taps to_image(const Transform& transform, bool down) {
  const int cells = transform.image_size / cell_side;
  const int length = down ? transform.original.height : transform.original.width;
  if (transform.one_step) return interpolation(cells, length);
  const Taps to_input = interpolation(cells, transform.image_size);
  Taps taps = interpolation(down ? transform.input.height : transform.input.width, length);
  for (auto& own : taps) {
    std::map<int, double> sums;
    for (const auto& [pixel, share] : own) {
      for (const auto& [cell, weight] : to_input[static_cast<std::size_t>(pixel)]) {
        sums[cell] += static_cast<double>(share) * static_cast<double>(weight);
      }
    }
    own.clear();
    for (const auto& [cell, weight] : sums) own[cell] = static_cast<float>(weight);
  }
  return taps;
}

/// How many values of a sorted list are below a limit.
int below(const std::vector<int>& sorted, int limit) {
  return static_cast<int>(std::lower_bound(sorted.begin(), sorted.end(), limit) - sorted.begin());
}

std::vector<float> square_sides(int length) {
  std::vector<double> ends{0};
  for (int centre = cell_side / 2; centre - cell_side / 2 < length; centre += cell_side) ends.push_back(centre);
  ends.push_back(length);
  std::vector<float> sides;
  for (std::size_t i = 1; i < ends.size(); i++) {
    const double whole = length;
    sides.push_back(static_cast<float>((std::min(ends[i], whole) - std::min(ends[i - 1], whole)) / cell_side));
  }
  return sides;
}

}  // namespace

Axis::Axis(const Transform& transform, bool down) {
  for (const auto& taps : to_image(transform, down)) {
    int from = std::numeric_limits<int>::max();
    int to = 0;
    for (const auto& [cell, weight] : taps) {
      if (weight == 0) continue;
      from = std::min(from, cell);
      to = std::max(to, cell);
    }
    std::vector<float> own(static_cast<std::size_t>(to - from + 1));
    for (const auto& [cell, weight] : taps) {
      if (weight != 0) own[static_cast<std::size_t>(cell - from)] = weight;
    }
    first.push_back(from);
    last.push_back(to);
    weights.push_back(std::move(own));
  }
  const int pairs = *std::max_element(last.begin(), last.end());
  for (int c = 0; c < pairs; c++) {
    starts.push_back(below(first, c));
    stops.push_back(below(last, c + 2));
    dense = dense && starts.back() < stops.back();
  }
}

Span Axis::outputs(int from, int to) const {
  const int start = below(last, from);
  return {start, std::max(start, below(first, to + 1))};
}

Span Axis::cells(Span outputs) const {
  if (outputs.length() == 0) return {};
  return {first[static_cast<std::size_t>(outputs.start)], last[static_cast<std::size_t>(outputs.stop - 1)] + 1};
}

Span Axis::above(const std::vector<float>& values) const {
  const auto is_above = [&](int i) {
    const auto& own = weights[static_cast<std::size_t>(i)];
    const float* from = values.data() + first[static_cast<std::size_t>(i)];
    double sum = 0;
    for (std::size_t k = 0; k < own.size(); k++) sum += static_cast<double>(own[k]) * static_cast<double>(from[k]);
    return static_cast<float>(sum) > mask_threshold;
  };
  Span span{0, static_cast<int>(weights.size())};
  while (span.start < span.stop && !is_above(span.start)) span.start++;
  while (span.stop > span.start && !is_above(span.stop - 1)) span.stop--;
  return span;
}

Upscaler::Upscaler(const Transform& transform)
    : rows_(transform, true),
      columns_(transform, false),
      cells_(transform.low_res_size()),
      side_(transform.low_res_side()),
      row_sides_(square_sides(transform.input.height)),
      column_sides_(square_sides(transform.input.width)) {
  const double down = static_cast<double>(transform.original.height) / transform.input.height;
  const double across = static_cast<double>(transform.original.width) / transform.input.width;
  rim_error_ = rim_error * std::max(1.0, fine / (std::min(down, across) * cell_side));
}

Box Upscaler::box(const float* logits) const {
  const auto side = static_cast<std::size_t>(side_);
  std::vector<float> lines(side, -std::numeric_limits<float>::infinity());
  std::vector<float> stacks = lines;
  for (std::size_t y = 0; y < side; y++) {
    const float* row = logits + y * side;
    lines[y] = *std::max_element(row, row + side);
    for (std::size_t x = 0; x < side; x++) stacks[x] = std::max(stacks[x], row[x]);
  }
  const Span x = columns_.above(stacks);
  const Span y = rows_.above(lines);
  if (x.length() == 0 || y.length() == 0) return {};
  return {static_cast<double>(x.start), static_cast<double>(y.start), x.stop - 1.0, y.stop - 1.0};
}

Box Upscaler::inner_box(const Patch& patch) const {
  if (!rows_.dense || !columns_.dense) return {};
  const auto [height, width] = patch.size;
  int x1 = width;
  int y1 = height;
  int x2 = -1;
  int y2 = -1;
  for (int y = 0; y + 1 < height; y++) {
    for (int x = 0; x + 1 < width; x++) {
      const float* at = patch.logits.data() + static_cast<std::ptrdiff_t>(y) * width + x;
      if (!(at[0] > mask_threshold && at[1] > mask_threshold && at[width] > mask_threshold &&
            at[width + 1] > mask_threshold)) {
        continue;
      }
      x1 = std::min(x1, x);
      y1 = std::min(y1, y);
      x2 = std::max(x2, x);
      y2 = y;
    }
  }
  if (x2 < 0) return {};
  const auto start = [](const Axis& axis, int cell) {
    return static_cast<double>(axis.starts[static_cast<std::size_t>(cell)]);
  };
  const auto stop = [](const Axis& axis, int cell) { return axis.stops[static_cast<std::size_t>(cell)] - 1.0; };
  return {start(columns_, patch.left + x1), start(rows_, patch.top + y1), stop(columns_, patch.left + x2),
          stop(rows_, patch.top + y2)};
}

Patch Upscaler::cut(const float* logits, float threshold, Size within) const {
  int x1 = within.width;
  int y1 = within.height;
  int x2 = -1;
  int y2 = -1;
  for (int y = 0; y < within.height; y++) {
    const float* row = logits + static_cast<std::ptrdiff_t>(y) * side_;
    for (int x = 0; x < within.width; x++) {
      if (!(row[x] > threshold)) continue;
      x1 = std::min(x1, x);
      x2 = std::max(x2, x);
      y1 = std::min(y1, y);
      y2 = y;
    }
  }
  if (x2 < 0) x1 = y1 = x2 = y2 = 0;
  Patch patch;
  patch.rows = rows_.outputs(y1, y2);
  patch.columns = columns_.outputs(x1, x2);
  const Span y = rows_.cells(patch.rows);
  const Span x = columns_.cells(patch.columns);
  patch.top = y.start;
  patch.left = x.start;
  patch.size = {y.length(), x.length()};
  for (int line = y.start; line < y.stop; line++) {
    const float* row = logits + static_cast<std::ptrdiff_t>(line) * side_;
    patch.logits.insert(patch.logits.end(), row + x.start, row + x.stop);
  }
  return patch;
}

/// Calls `take` with every column of the image that the patch reaches and its logits, one a row that it reaches.
template <typename Take>
void Upscaler::each_column(const Patch& patch, const Take& take) const {
  const auto cells = static_cast<std::size_t>(patch.size.width);
  const auto height = static_cast<std::size_t>(patch.rows.length());
  // Down the columns of cells, then across: what is read and written lies together.
  std::vector<float> stretched(cells * height);
  std::vector<float> line(cells);
  for (std::size_t y = 0; y < height; y++) {
    const auto row = static_cast<std::size_t>(patch.rows.start) + y;
    const auto& down = rows_.weights[row];
    const float* from = patch.logits.data() + static_cast<std::size_t>(rows_.first[row] - patch.top) * cells;
    std::fill(line.begin(), line.end(), 0.0F);
    for (std::size_t k = 0; k < down.size(); k++) {
      for (std::size_t x = 0; x < cells; x++) line[x] += down[k] * from[k * cells + x];
    }
    for (std::size_t x = 0; x < cells; x++) stretched[x * height + y] = line[x];
  }
  std::vector<float> column(height);
  for (int x = patch.columns.start; x < patch.columns.stop; x++) {
    const auto& across = columns_.weights[static_cast<std::size_t>(x)];
    const float* from =
        stretched.data() + static_cast<std::size_t>(columns_.first[static_cast<std::size_t>(x)] - patch.left) * height;
    std::fill(column.begin(), column.end(), 0.0F);
    for (float weight : across) {
      for (std::size_t y = 0; y < height; y++) column[y] += weight * from[y];
      from += height;
    }
    take(x, column);
  }
}

Runs Upscaler::encode(const Patch& patch, int top, int left, Size size) const {
  RunWriter writer(size);
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(patch.rows.length()));
  each_column(patch, [&](int x, const std::vector<float>& column) {
    for (std::size_t y = 0; y < pixels.size(); y++) pixels[y] = column[y] > mask_threshold ? 1 : 0;
    writer.add(x + left, patch.rows.start + top, pixels);
  });
  return writer.finish();
}

float Upscaler::stability(const float* logits, float offset) const {
  const Patch patch = cut(logits, mask_threshold - offset, {side_, side_});
  std::int64_t inner = 0;
  std::int64_t outer = 0;
  each_column(patch, [&](int, const std::vector<float>& column) {
    int in = 0;
    int out = 0;
    for (float value : column) {
      in += value > mask_threshold + offset ? 1 : 0;
      out += value > mask_threshold - offset ? 1 : 0;
    }
    inner += in;
    outer += out;
  });
  return static_cast<float>(static_cast<double>(inner) / static_cast<double>(outer));
}

std::pair<float, float> Upscaler::estimate_stability(const float* logits, float offset) const {
  const auto [inner, inner_rim] = areas(logits, mask_threshold + offset);
  const auto [outer, outer_rim] = areas(logits, mask_threshold - offset);
  return {static_cast<float>(inner / outer), static_cast<float>(rim_error_ * (inner_rim + outer_rim) / outer)};
}

std::pair<double, double> Upscaler::areas(const float* logits, float threshold) const {
  double area = 0;
  double rim = 0;
  for (int y = 0; y <= cells_.height; y++) {
    // The outermost logits go on to the border.
    const float* upper = logits + static_cast<std::ptrdiff_t>(std::max(y - 1, 0)) * side_;
    const float* lower = logits + static_cast<std::ptrdiff_t>(std::min(y, cells_.height - 1)) * side_;
    for (int x = 0; x <= cells_.width; x++) {
      const int left = std::max(x - 1, 0);
      const int right = std::min(x, cells_.width - 1);
      const std::array<float, 4> corners{upper[left] - threshold, upper[right] - threshold, lower[left] - threshold,
                                         lower[right] - threshold};
      const auto positive = std::count_if(corners.begin(), corners.end(), [](float value) { return value > 0; });
      if (positive == 0) continue;
      const double square = static_cast<double>(row_sides_[static_cast<std::size_t>(y)]) *
                            static_cast<double>(column_sides_[static_cast<std::size_t>(x)]);
      if (positive == 4) {
        area += square;
        continue;
      }
      double inside = 0;
      double all = 0;
      for (float value : corners) {
        inside += static_cast<double>(std::max(value, 0.0F));
        all += static_cast<double>(std::abs(value));
      }
      area += square * inside / all;
      rim += square;
    }
  }
  return {area, rim};
}

}  // namespace samdeploy::internal

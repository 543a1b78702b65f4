#include "regions.hpp"

#include <algorithm>

namespace samdeploy::internal {

Regions find_regions(const Bitmap& bitmap, Size size, bool corners) {
  Regions found{std::vector<std::int32_t>(bitmap.size()), {}};
  const auto height = static_cast<std::int64_t>(size.height);
  const auto width = static_cast<std::int64_t>(size.width);
  const std::int64_t reach = corners ? 1 : 0;
  std::vector<std::int64_t> waiting;
  const auto is_new = [&](std::int64_t at) {
    const auto index = static_cast<std::size_t>(at);
    return bitmap[index] != 0 && found.labels[index] == 0;
  };
  for (std::int64_t first = 0; first < height * width; first++) {
    if (!is_new(first)) continue;
    found.areas.push_back(0);
    const auto label = static_cast<std::int32_t>(found.areas.size());
    const auto mark = [&](std::int64_t at) { found.labels[static_cast<std::size_t>(at)] = label; };
    mark(first);
    waiting.push_back(first);
    // Runs along a row at a time: the neighbours of a whole run are looked at together.
    while (!waiting.empty()) {
      const std::int64_t at = waiting.back();
      waiting.pop_back();
      const std::int64_t y = at / width;
      const std::int64_t row = y * width;
      std::int64_t left = at;
      std::int64_t right = at;
      while (left > row && is_new(left - 1)) mark(--left);
      while (right < row + width - 1 && is_new(right + 1)) mark(++right);
      found.areas.back() += right - left + 1;
      for (std::int64_t line : {y - 1, y + 1}) {
        if (line < 0 || line >= height) continue;
        const std::int64_t from = std::max(left - row - reach, std::int64_t{0}) + line * width;
        const std::int64_t to = std::min(right - row + reach, width - 1) + line * width;
        for (std::int64_t next = from; next <= to; next++) {
          if (!is_new(next)) continue;
          mark(next);
          waiting.push_back(next);
        }
      }
    }
  }
  return found;
}

}  // namespace samdeploy::internal

#include "cleaning.hpp"

#include <algorithm>

#include "boxes.hpp"
#include "regions.hpp"

namespace samdeploy::internal {
namespace {

/// Fill regions outside with fewer pixels; whether there were any.
bool fill_holes(Bitmap& bitmap, Size size, std::int64_t least) {
  Bitmap outside(bitmap.size());
  std::transform(bitmap.begin(), bitmap.end(), outside.begin(), [](std::uint8_t pixel) { return pixel != 0 ? 0 : 1; });
  const Regions regions = find_regions(outside, size, true);
  bool changed = false;
  for (std::size_t i = 0; i < bitmap.size(); i++) {
    const std::int32_t label = regions.labels[i];
    if (label == 0 || regions.areas[static_cast<std::size_t>(label - 1)] >= least) continue;
    bitmap[i] = 1;
    changed = true;
  }
  return changed;
}

/// Remove regions inside with fewer pixels, but for the largest where all are; whether there were any.
bool remove_islands(Bitmap& bitmap, Size size, std::int64_t least) {
  const Regions regions = find_regions(bitmap, size, true);
  const auto& areas = regions.areas;
  const auto small = [&](std::int64_t area) { return area < least; };
  if (std::none_of(areas.begin(), areas.end(), small)) return false;
  std::vector<bool> kept;
  for (std::int64_t area : areas) kept.push_back(!small(area));
  if (std::all_of(areas.begin(), areas.end(), small)) {
    kept[static_cast<std::size_t>(std::max_element(areas.begin(), areas.end()) - areas.begin())] = true;
  }
  for (std::size_t i = 0; i < bitmap.size(); i++) {
    const std::int32_t label = regions.labels[i];
    if (label != 0 && !kept[static_cast<std::size_t>(label - 1)]) bitmap[i] = 0;
  }
  return true;
}

}  // namespace

std::vector<Candidate> cleaned(std::vector<Candidate> found, std::int64_t least_area, double threshold) {
  std::vector<Box> boxes;
  std::vector<float> unchanged;
  for (Candidate& candidate : found) {
    const Size size = candidate.runs().size;
    Bitmap bitmap = candidate.runs().decode();
    const bool filled = fill_holes(bitmap, size, least_area);
    const bool removed = remove_islands(bitmap, size, least_area);
    if (filled || removed) {
      candidate.mask = Runs::encode(bitmap, size);
      candidate.box = candidate.runs().box();
    }
    boxes.push_back(candidate.box);
    unchanged.push_back(filled || removed ? 0.0F : 1.0F);
  }
  std::vector<Candidate> kept;
  for (std::size_t i : nms(boxes, unchanged, threshold)) kept.push_back(std::move(found[i]));
  return kept;
}

}  // namespace samdeploy::internal

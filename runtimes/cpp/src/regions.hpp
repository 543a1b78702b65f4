// Connected regions of a bitmap.
#pragma once

#include <cstdint>
#include <vector>

#include "rle.hpp"

namespace samdeploy::internal {

struct Regions {
  /// Per pixel the number of its region, from 1; 0 outside.
  std::vector<std::int32_t> labels;
  /// Pixels of region `i + 1` at index `i`; regions are in the order of their first pixel, row by row.
  std::vector<std::int64_t> areas;
};

/// Through edges alone, or through `corners` as well.
Regions find_regions(const Bitmap& bitmap, Size size, bool corners);

}  // namespace samdeploy::internal

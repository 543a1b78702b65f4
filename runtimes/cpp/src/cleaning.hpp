// Small holes and islands of masks.
#pragma once

#include "candidates.hpp"

namespace samdeploy::internal {

/// Fill small holes, drop small islands, then remove what became a duplicate; unchanged masks win.
std::vector<Candidate> cleaned(std::vector<Candidate> found, std::int64_t least_area, double threshold);

}  // namespace samdeploy::internal

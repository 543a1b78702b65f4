// Whole-image mode.
#pragma once

#include <functional>

#include "candidates.hpp"
#include "resize.hpp"

namespace samdeploy::internal {

/// Encodes an image or a crop of it.
using Encode = std::function<std::shared_ptr<const EmbeddingData>(const Rgb& image)>;

/// All confident and stable masks of an image: a grid of point prompts over it and its crops, filtered, as Segment
/// Anything's automatic mask generation (arXiv:2304.02643, appendix B).
std::vector<Candidate> generate(const Rgb& image, const Encode& encode, const Decoding& decoding, const Family& family,
                                const WholeImageSettings& settings, const Progress& progress);

}  // namespace samdeploy::internal

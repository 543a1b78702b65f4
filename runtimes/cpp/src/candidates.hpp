// The filters of whole-image mode that look at one mask at a time, and then at those of one crop together.
#pragma once

#include <variant>

#include "asking.hpp"
#include "grids.hpp"
#include "upscaling.hpp"

namespace samdeploy::internal {

/// A mask, run lengths or still a patch of logits, and what is known of it; boxes and points in image pixels.
struct Candidate {
  std::variant<Runs, Patch> mask;
  Box box;
  float score = 0;
  float stability = 0;
  Point point;
  /// Index of the grid point among those of all crops.
  int prompt = 0;
  Box crop;

  const Runs& runs() const { return std::get<Runs>(mask); }
};

/// Memory of a mask that is still logits.
std::size_t logit_bytes(const Candidate& candidate);

class Selector {
 public:
  /// `crop` and `settings` outlive it.
  Selector(const Crop& crop, const Transform& transform, Size image, const WholeImageSettings& settings)
      : crop_(crop), transform_(transform), image_(image), settings_(settings), upscaler_(transform) {}

  /// Those that are stable and not cut off by the crop; `first` is the number of the crop's first point.
  std::vector<Candidate> select(const std::vector<Confident>& decoded, const std::vector<std::size_t>& indices,
                                int first) const;
  /// The same with its mask as run lengths, and the box of its pixels.
  Candidate encode(Candidate candidate) const;
  /// All but those that a better one overlaps, best first. Boxes of logits are outer bounds: a candidate is passed by
  /// when it is a duplicate whatever its box is within bounds; else its mask is made, and its own box decides.
  std::vector<Candidate> best(std::vector<Candidate> found) const;

 private:
  bool judge(const float* logits, Candidate& candidate) const;
  bool judge_exactly(const float* logits, Candidate& candidate) const;
  Box inner_box(const Candidate& candidate) const;
  Box moved(const Box& box) const;
  bool is_steady(float score) const;
  bool is_cut_off(const Box& box) const;

  const Crop& crop_;
  Transform transform_;
  Size image_;
  const WholeImageSettings& settings_;
  Upscaler upscaler_;
};

}  // namespace samdeploy::internal

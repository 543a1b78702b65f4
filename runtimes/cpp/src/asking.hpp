// Grid points to the confident masks that the model answers with, for one image or crop.
#pragma once

#include "decode.hpp"

namespace samdeploy::internal {

/// A confident mask: low-res logits, predicted IoU, and which of the points it answers.
struct Confident {
  std::vector<float> logits;
  float iou = 0;
  std::size_t owner = 0;
};

class Asking {
 public:
  /// All of them outlive it.
  Asking(const Decoding& decoding, const Family& family, const EmbeddingData& embedding,
         const WholeImageSettings& settings)
      : decoding_(decoding), family_(family), embedding_(embedding), settings_(settings) {}

  /// `points` in pixels of the crop.
  std::vector<Confident> ask(const std::vector<Point>& points) const;

 private:
  std::vector<Confident> candidates(const Answer& answer) const;
  std::vector<Confident> single(const Answer& answer) const;
  std::vector<Confident> ambiguous(const Answer& answer) const;
  std::vector<Confident> refined(const PromptTensors& prompts, const Answer& answer) const;
  std::vector<float> whole(const Tensor& masks, std::size_t row, std::size_t output) const;
  bool is_confident(float iou) const;

  const Decoding& decoding_;
  const Family& family_;
  const EmbeddingData& embedding_;
  const WholeImageSettings& settings_;
};

}  // namespace samdeploy::internal

// The pixels of a mask: logits until somebody asks for more.
#pragma once

#include <mutex>

#include "geometry.hpp"
#include "rle.hpp"

namespace samdeploy::internal {

/// A pixel is inside when its logit is above this.
constexpr float mask_threshold = 0;

class MaskPixels {
 public:
  /// Of low-res logits.
  MaskPixels(std::vector<float> logits, const Transform& transform)
      : logits_(std::move(logits)), transform_(transform) {}
  /// Of a mask that is made already.
  explicit MaskPixels(Runs runs) : transform_{runs.size, {}, 0, false}, runs_(std::move(runs)) {}

  Size size() const { return transform_.original; }
  const std::vector<float>& logits() const { return logits_; }
  /// Made once, whichever thread asks first.
  const Runs& runs() const;
  Bitmap bitmap() const;

 private:
  std::vector<float> logits_;
  Transform transform_;
  mutable std::once_flag once_;
  mutable Runs runs_;
};

}  // namespace samdeploy::internal

#include "mask.hpp"

#include "interpolation.hpp"
#include "polygons.hpp"
#include "text.hpp"

namespace samdeploy {
namespace internal {

Bitmap MaskPixels::bitmap() const {
  if (logits_.empty()) return runs_.decode();
  const auto width = static_cast<std::size_t>(transform_.original.width);
  Bitmap bitmap(pixels(transform_.original));
  each_image_row(logits_.data(), transform_, [&](const float* row, int y) {
    std::uint8_t* to = bitmap.data() + static_cast<std::size_t>(y) * width;
    for (std::size_t x = 0; x < width; x++) to[x] = row[x] > mask_threshold ? 1 : 0;
  });
  return bitmap;
}

const Runs& MaskPixels::runs() const {
  std::call_once(once_, [&] {
    if (!logits_.empty()) runs_ = Runs::encode(bitmap(), transform_.original);
  });
  return runs_;
}

}  // namespace internal

Mask::Mask(float score, int prompt, std::shared_ptr<const internal::MaskPixels> pixels, std::optional<float> stability,
           std::optional<Point> point)
    : score_(score), prompt_(prompt), pixels_(std::move(pixels)), stability_(stability), point_(point) {}

Size Mask::size() const { return pixels_->size(); }
std::int64_t Mask::area() const { return pixels_->runs().area(); }
Box Mask::box() const { return pixels_->runs().box(); }
std::vector<std::uint8_t> Mask::bitmap() const { return pixels_->bitmap(); }
RunLengths Mask::run_lengths() const { return pixels_->runs().to_coco(); }
const std::vector<float>& Mask::logits() const { return pixels_->logits(); }

std::vector<Polygon> Mask::polygons(double epsilon) const {
  if (!(epsilon >= 0)) internal::refuse(Fault::input, "epsilon=", epsilon, "; expected a number of pixels >= 0.");
  return internal::polygons_of(bitmap(), size(), epsilon);
}

}  // namespace samdeploy

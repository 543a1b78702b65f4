#include "golden.hpp"

#include <cmath>
#include <cstdio>

#include "mask.hpp"
#include "text.hpp"

namespace samdeploy::internal {
namespace {

/// How far ratings may be off, and how much of the mask has to overlap.
constexpr float most_off = 0.02F;
constexpr double least_iou = 0.98;

std::string shown(const std::vector<float>& values) {
  std::string all;
  for (float value : values) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.3f", static_cast<double>(value));
    all += (all.empty() ? "" : ", ") + std::string(digits);
  }
  return all;
}

bool is_near(const std::vector<float>& found, const std::vector<float>& expected) {
  bool near = found.size() == expected.size();
  // Written so that not-a-number fails too.
  for (std::size_t i = 0; near && i < found.size(); i++) near = std::abs(found[i] - expected[i]) <= most_off;
  return near;
}

double bitmap_iou(const Bitmap& a, const Bitmap& b) {
  std::size_t shared = 0;
  std::size_t either = 0;
  for (std::size_t i = 0; i < a.size(); i++) {
    shared += a[i] & b[i];
    either += a[i] | b[i];
  }
  return either == 0 ? 1 : static_cast<double>(shared) / static_cast<double>(either);
}

}  // namespace

Rgb example_picture(Size size) {
  Rgb picture{size, {}};
  for (int y = 0; y < size.height; y++) {
    for (int x = 0; x < size.width; x++) {
      const bool disc = (x - 150) * (x - 150) + (y - 140) * (y - 140) < 6400;
      for (int value : {disc ? 200 : 40 + x / 4, disc ? 60 + x / 8 : 70 + y / 4, disc ? 50 : 150 - x / 8}) {
        picture.data.push_back(static_cast<std::uint8_t>(value));
      }
    }
  }
  return picture;
}

void check_answer(const Golden& golden, const Answer& answer, const Transform& transform, const std::string& provider) {
  const char* remedy = "; use another device or update its driver.";
  if (!is_near(answer.iou.data, golden.iou)) {
    refuse(Fault::runtime, provider, " computes this model wrongly: it rates the masks of the bundle's own click ",
           shown(answer.iou.data), " instead of ", shown(golden.iou), remedy);
  }
  const int side = transform.low_res_side();
  Tensor masks = answer.masks({0}, {side, side});
  masks.data.resize(pixels({side, side}));  // output 0 comes first
  const double overlap = bitmap_iou(MaskPixels(std::move(masks.data), transform).bitmap(), golden.mask.decode());
  if (!(overlap >= least_iou)) {
    refuse(Fault::runtime, provider,
           " computes this model wrongly: the mask of the bundle's own click overlaps the right one by ", overlap,
           remedy);
  }
}

}  // namespace samdeploy::internal

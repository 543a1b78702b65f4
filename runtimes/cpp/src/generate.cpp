#include "generate.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <future>

#include "boxes.hpp"
#include "cleaning.hpp"
#include "settings.hpp"
#include "text.hpp"

namespace samdeploy::internal {
namespace {

/// Candidates wait as logits for the filter between masks; beyond this, further ones become run lengths at once.
constexpr std::size_t most_logit_bytes = std::size_t{128} << 20;
/// Adaptive: steps of the walks over the grid, and the largest share of a crop that a mask may cover points with.
constexpr std::array<std::size_t, 3> strides{4, 2, 1};
constexpr double covering_share = 0.2;

/// Told how many points are done; throws where the caller wants no more.
using Done = std::function<void(int done)>;

/// The grid points of one crop, batch by batch, to its candidates.
class Walk {
 public:
  Walk(const Asking& asking, const Crop& crop, const Transform& transform, Size image,
       const WholeImageSettings& settings)
      : asking_(asking),
        crop_(crop),
        transform_(transform),
        settings_(settings),
        selector_(crop, transform, image, settings),
        cells_(transform.low_res_size()),
        covered_(pixels(cells_)) {}

  /// Ask at all points, numbered from `first` on.
  std::vector<Candidate> run(int first, const Done& tell) {
    int done = first;
    for (const auto& level : levels()) {
      std::vector<std::size_t> wanted;
      for (std::size_t i : level) {
        if (!is_covered(crop_.points[i])) wanted.push_back(i);
      }
      done += static_cast<int>(level.size() - wanted.size());
      if (wanted.empty()) tell(done);
      const auto batch = static_cast<std::size_t>(settings_.points_batch_size);
      for (std::size_t start = 0; start < wanted.size(); start += batch) {
        const auto stop = std::min(start + batch, wanted.size());
        ask({wanted.begin() + static_cast<std::ptrdiff_t>(start), wanted.begin() + static_cast<std::ptrdiff_t>(stop)},
            first);
        done += static_cast<int>(stop - start);
        tell(done);
      }
      collect();  // what is covered is known only then
    }
    return selector_.best(std::move(found_));
  }

 private:
  /// Filters run in a thread of their own while the decoder is at the next batch.
  void ask(std::vector<std::size_t> indices, int first) {
    std::vector<Point> points;
    for (std::size_t i : indices) points.push_back(crop_.points[i]);
    auto decoded = asking_.ask(points);
    collect();
    filtering_ =
        std::async(std::launch::async, [this, first, indices = std::move(indices), decoded = std::move(decoded)] {
          return selector_.select(decoded, indices, first);
        });
  }

  void collect() {
    if (!filtering_.valid()) return;
    for (Candidate& candidate : filtering_.get()) {
      if (settings_.adaptive) cover(candidate);
      waiting_bytes_ += logit_bytes(candidate);
      found_.push_back(waiting_bytes_ > most_logit_bytes ? selector_.encode(std::move(candidate))
                                                         : std::move(candidate));
    }
  }

  /// Indices of the points: all at once, or coarse to fine.
  std::vector<std::vector<std::size_t>> levels() const {
    const auto side = static_cast<std::size_t>(std::lround(std::sqrt(static_cast<double>(crop_.points.size()))));
    std::vector<std::vector<std::size_t>> levels(settings_.adaptive ? strides.size() : 1);
    for (std::size_t i = 0; i < crop_.points.size(); i++) {
      std::size_t level = 0;
      const auto on = [&](std::size_t stride) { return i / side % stride == 0 && i % side % stride == 0; };
      while (settings_.adaptive && !on(strides[level])) level++;
      levels[level].push_back(i);
    }
    return levels;
  }

  bool is_covered(Point point) const {
    const Point at = transform_.to_input(point);
    const int x = std::min(static_cast<int>(at.x / 4), cells_.width - 1);
    const int y = std::min(static_cast<int>(at.y / 4), cells_.height - 1);
    return covered_[static_cast<std::size_t>(y) * static_cast<std::size_t>(cells_.width) +
                    static_cast<std::size_t>(x)] != 0;
  }

  /// Points inside a mask that is not too large need not be asked at any more.
  void cover(const Candidate& candidate) {
    const auto* patch = std::get_if<Patch>(&candidate.mask);
    if (patch == nullptr) return;
    const auto inside =
        std::count_if(patch->logits.begin(), patch->logits.end(), [](float logit) { return logit > mask_threshold; });
    if (static_cast<double>(inside) > covering_share * static_cast<double>(covered_.size())) return;
    for (int y = 0; y < patch->size.height && y + patch->top < cells_.height; y++) {
      for (int x = 0; x < patch->size.width && x + patch->left < cells_.width; x++) {
        if (patch->logits[static_cast<std::size_t>(y) * static_cast<std::size_t>(patch->size.width) +
                          static_cast<std::size_t>(x)] > mask_threshold) {
          covered_[static_cast<std::size_t>(y + patch->top) * static_cast<std::size_t>(cells_.width) +
                   static_cast<std::size_t>(x + patch->left)] = 1;
        }
      }
    }
  }

  const Asking& asking_;
  const Crop& crop_;
  Transform transform_;
  const WholeImageSettings& settings_;
  Selector selector_;
  Size cells_;
  Bitmap covered_;
  std::vector<Candidate> found_;
  std::size_t waiting_bytes_ = 0;
  /// Last, so that it ends before what it reads is gone.
  std::future<std::vector<Candidate>> filtering_;
};

Rgb part_of(const Rgb& image, const Box& box) {
  const auto left = static_cast<std::size_t>(box.x1);
  const auto top = static_cast<std::size_t>(box.y1);
  Rgb part{{static_cast<int>(box.y2 - box.y1), static_cast<int>(box.x2 - box.x1)}, {}};
  const auto width = static_cast<std::size_t>(image.size.width);
  for (std::size_t y = top; y < top + static_cast<std::size_t>(part.size.height); y++) {
    const auto from = image.data.begin() + static_cast<std::ptrdiff_t>(3 * (y * width + left));
    part.data.insert(part.data.end(), from, from + 3 * part.size.width);
  }
  return part;
}

}  // namespace

std::vector<Candidate> generate(const Rgb& image, const Encode& encode, const Decoding& decoding, const Family& family,
                                const WholeImageSettings& settings, const Progress& progress) {
  check_settings(settings);
  const auto crops = make_crops(image.size, settings);
  int total = 0;
  for (const Crop& crop : crops) total += static_cast<int>(crop.points.size());
  const Done tell = [&](int done) {
    if (progress && !progress(done, total)) {
      refuse(Fault::input, "generate was cancelled at ", done, " of ", total, " points.");
    }
  };
  std::vector<Candidate> found;
  int first = 0;
  for (const Crop& crop : crops) {
    // One encoder call per crop; its candidates are filtered before the next crop starts.
    const auto embedding = encode(first == 0 ? image : part_of(image, crop.box));
    const Asking asking(decoding, family, *embedding, settings);
    for (Candidate& best : Walk(asking, crop, embedding->transform, image.size, settings).run(first, tell)) {
      found.push_back(std::move(best));
    }
    first += static_cast<int>(crop.points.size());
  }
  if (crops.size() > 1) {
    // A smaller crop sees more detail: its masks win.
    std::vector<Box> boxes;
    std::vector<float> preference;
    for (const Candidate& each : found) {
      boxes.push_back(each.box);
      preference.push_back(static_cast<float>(1 / ((each.crop.x2 - each.crop.x1) * (each.crop.y2 - each.crop.y1))));
    }
    std::vector<Candidate> kept;
    for (std::size_t i : nms(boxes, preference, settings.crop_nms_thresh)) kept.push_back(std::move(found[i]));
    found = std::move(kept);
  }
  if (settings.min_mask_region_area > 0) {
    found = cleaned(std::move(found), settings.min_mask_region_area,
                    std::max(settings.nms_thresh, settings.crop_nms_thresh));
  }
  return found;
}

}  // namespace samdeploy::internal

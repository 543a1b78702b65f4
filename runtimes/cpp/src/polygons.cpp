#include "polygons.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "regions.hpp"

namespace samdeploy::internal {
namespace {

using Ring = std::vector<Point>;

/// Area inside a ring, whatever its direction.
double ring_area(const Ring& ring) {
  double sum = 0;
  for (std::size_t i = 0; i < ring.size(); i++) {
    const Point& next = ring[(i + 1) % ring.size()];
    sum += ring[i].x * next.y - ring[i].y * next.x;
  }
  return std::abs(sum) / 2;
}

/// Square pixels, holes left out.
double polygon_area(const Polygon& polygon) {
  double area = ring_area(polygon.exterior);
  for (const Ring& hole : polygon.holes) area -= ring_area(hole);
  return area;
}

/// Border rings of all parts, corners only: a border goes along pixel edges with its part on the right, and where two
/// pixels touch at a corner, it turns right.
class Tracer {
 public:
  Tracer(const std::vector<std::int32_t>& labels, Size size)
      : labels_(labels),
        size_(size),
        passed_((pixels(size) + pixels({1, size.width}) + pixels({size.height, 1}) + 1)) {}

  template <typename Take>
  void each(const Take& take) {
    for (int y = 0; y < size_.height; y++) {
      for (int x = 0; x < size_.width; x++) {
        // Every ring has an edge that goes right, with a pixel of its part below.
        const std::int32_t label = right_of(x, y, 0);
        if (label != 0 && (passed(x, y) & 1) == 0) take(label, follow(x, y, label));
      }
    }
  }

 private:
  static constexpr std::array<std::pair<int, int>, 4> steps{{{1, 0}, {0, 1}, {-1, 0}, {0, -1}}};

  std::int32_t at(int x, int y) const {
    if (x < 0 || y < 0 || x >= size_.width || y >= size_.height) return 0;
    return labels_[static_cast<std::size_t>(y) * static_cast<std::size_t>(size_.width) + static_cast<std::size_t>(x)];
  }

  /// One bit per direction of the pixel edges that begin at a corner and were passed.
  std::uint8_t& passed(int x, int y) {
    return passed_[static_cast<std::size_t>(y) * static_cast<std::size_t>(size_.width + 1) +
                   static_cast<std::size_t>(x)];
  }

  /// The part to the right of the edge that leaves corner (x, y), if it is a border.
  std::int32_t right_of(int x, int y, int direction) const {
    // Of each direction the pixel on its right, then that on its left, from the corner.
    constexpr std::array<std::array<int, 4>, 4> beside{
        {{0, 0, 0, -1}, {-1, 0, 0, 0}, {-1, -1, -1, 0}, {0, -1, -1, -1}}};
    const auto& [x1, y1, x2, y2] = beside[static_cast<std::size_t>(direction)];
    const std::int32_t inside = at(x + x1, y + y1);
    return inside != at(x + x2, y + y2) ? inside : 0;
  }

  Ring follow(int x0, int y0, std::int32_t label) {
    Ring ring;
    int x = x0;
    int y = y0;
    int direction = 0;
    do {
      passed(x, y) = static_cast<std::uint8_t>(passed(x, y) | (1 << direction));
      x += steps[static_cast<std::size_t>(direction)].first;
      y += steps[static_cast<std::size_t>(direction)].second;
      int turn = direction;
      for (int by : {1, 0, 3}) {
        turn = (direction + by) % 4;
        if (right_of(x, y, turn) == label) break;
      }
      if (turn != direction) ring.push_back({static_cast<double>(x), static_cast<double>(y)});
      direction = turn;
    } while (x != x0 || y != y0 || direction != 0);
    return ring;
  }

  const std::vector<std::int32_t>& labels_;
  Size size_;
  std::vector<std::uint8_t> passed_;
};

std::size_t farthest(const Ring& ring, std::size_t from) {
  std::size_t best = from;
  double most = -1;
  for (std::size_t i = 0; i < ring.size(); i++) {
    const double dx = ring[i].x - ring[from].x;
    const double dy = ring[i].y - ring[from].y;
    if (dx * dx + dy * dy > most) {
      best = i;
      most = dx * dx + dy * dy;
    }
  }
  return best;
}

/// Of a point from the segment between two others.
double distance(Point point, Point from, Point to) {
  const double dx = to.x - from.x;
  const double dy = to.y - from.y;
  const double length = dx * dx + dy * dy;
  const double dot = (point.x - from.x) * dx + (point.y - from.y) * dy;
  const double along = length != 0 ? std::clamp(dot / length, 0.0, 1.0) : 0;
  return std::hypot(point.x - from.x - along * dx, point.y - from.y - along * dy);
}

/// Fewer vertices, none of those left out further than `epsilon` from the ring (Douglas and Peucker 1973).
Ring simplified(Ring ring, double epsilon) {
  // Two vertices far from each other part the ring into two lines.
  std::rotate(ring.begin(), ring.begin() + static_cast<std::ptrdiff_t>(farthest(ring, 0)), ring.end());
  const std::size_t middle = farthest(ring, 0);
  std::vector<bool> kept(ring.size());
  kept[0] = kept[middle] = true;
  std::vector<std::pair<std::size_t, std::size_t>> waiting{{0, middle}, {middle, ring.size()}};
  while (!waiting.empty()) {
    const auto [from, to] = waiting.back();
    waiting.pop_back();
    std::size_t worst = to;
    double most = epsilon;
    for (std::size_t i = from + 1; i < to; i++) {
      const double off = distance(ring[i], ring[from], ring[to % ring.size()]);
      if (off > most) {
        worst = i;
        most = off;
      }
    }
    if (worst == to) continue;
    kept[worst] = true;
    waiting.emplace_back(from, worst);
    waiting.emplace_back(worst, to);
  }
  Ring result;
  for (std::size_t i = 0; i < ring.size(); i++) {
    if (kept[i]) result.push_back(ring[i]);
  }
  return result;
}

}  // namespace

std::vector<Polygon> polygons_of(const Bitmap& bitmap, Size size, double epsilon) {
  const Regions regions = find_regions(bitmap, size, false);
  std::vector<std::vector<Ring>> parts(regions.areas.size());
  Tracer(regions.labels, size).each([&](std::int32_t label, Ring ring) {
    if (epsilon > 0) ring = simplified(std::move(ring), epsilon);
    if (ring.size() >= 3) parts[static_cast<std::size_t>(label - 1)].push_back(std::move(ring));
  });
  std::vector<Polygon> polygons;
  for (auto& rings : parts) {
    if (rings.empty()) continue;
    std::stable_sort(rings.begin(), rings.end(),
                     [](const Ring& a, const Ring& b) { return ring_area(a) > ring_area(b); });
    Polygon polygon{std::move(rings.front()), {}};
    polygon.holes.assign(std::make_move_iterator(rings.begin() + 1), std::make_move_iterator(rings.end()));
    polygons.push_back(std::move(polygon));
  }
  std::stable_sort(polygons.begin(), polygons.end(),
                   [](const Polygon& a, const Polygon& b) { return polygon_area(a) > polygon_area(b); });
  return polygons;
}

}  // namespace samdeploy::internal

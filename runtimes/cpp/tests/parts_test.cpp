// The parts that need no graph, beside what Pillow, OpenCV and Python gave: resizing, masks, embeddings in files.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cases.hpp"
#include "hash.hpp"
#include "polygons.hpp"
#include "preprocess.hpp"
#include "prompts.hpp"
#include "regions.hpp"

using namespace samdeploy::internal;

namespace {

Steps steps_of(const Json& told) {
  const auto index = [&](const char* name, std::vector<std::string> known) {
    return std::find(known.begin(), known.end(), told.value(name, known[0])) - known.begin();
  };
  Steps steps;
  steps.square = index("resize", {"fit", "square"}) == 1;
  steps.resampling = static_cast<Resampling>(index("resampling", {"bilinear", "bicubic", "area"}));
  steps.rounding = static_cast<Rounding>(index("rounding", {"nearest", "down", "none"}));
  steps.min_max = index("scaling", {"none", "min-max"}) == 1;
  if (told.contains("pad")) steps.pad = told["pad"];
  return steps;
}

void test_resizing(const Cases& cases) {
  const Picture odd = cases.picture("odd");
  const Rgb rgb = to_rgb(odd.view());
  for (const Json& each : cases["resizing"]) {
    const Steps steps = steps_of(each["preprocess"]);
    const Tensor found = preprocess(rgb, steps.transform(rgb.size, each["size"]), steps);
    const auto bytes = cases.bytes(each["file"]);
    std::vector<float> expected(bytes.size() / sizeof(float));
    std::memcpy(expected.data(), bytes.data(), bytes.size());
    double most = expected.size() == found.data.size() ? 0 : 255;
    for (std::size_t i = 0; i < std::min(expected.size(), found.data.size()); i++) {
      most = std::max(most, std::abs(static_cast<double>(expected[i]) - static_cast<double>(found.data[i])));
    }
    // Pillow's 8 bits to the bit; where floats are rounded down, one that is a hair below is one less.
    const bool to_the_bit = steps.resampling == Resampling::bilinear && steps.rounding == Rounding::nearest;
    const double allowed = to_the_bit ? 0 : steps.rounding == Rounding::none && !steps.min_max ? 1e-3 : 1.0;
    check(most <= allowed, "resizing " + each.dump() + " differs by " + std::to_string(most));
  }
}

/// By instructions, where the processor has them, and by loops.
void test_hashes(const Cases& cases) {
  const std::string path = cases.path("hashed");
  const std::string known[]{"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"};
  for (const std::string& content : {std::string(), std::string("abc")}) {
    std::ofstream(path, std::ios::binary) << content;
    check(sha256(path) == known[content.size() / 3], "hash of '" + content + "'");
  }
  for (std::size_t length : {55, 56, 63, 64, 65, 119, 1 << 20, (3 << 20) + 7}) {
    std::string content(length, '\0');
    for (std::size_t i = 0; i < length; i++) content[i] = static_cast<char>(i * i >> 3);
    std::ofstream(path, std::ios::binary) << content;
    check(sha256(path) == sha256(path, false), "hash of " + std::to_string(length) + " bytes");
  }
  std::remove(path.c_str());
}

void test_formats(const Cases& cases) {
  const Picture odd = cases.picture("odd");
  const Rgb rgb = to_rgb(odd.view());
  const int padded = 3 * odd.width + 5;
  std::vector<std::uint8_t> bgr(static_cast<std::size_t>(padded * odd.height), 7);
  for (int y = 0; y < odd.height; y++) {
    for (int x = 0; x < odd.width; x++) {
      for (int c = 0; c < 3; c++) {
        bgr[static_cast<std::size_t>(y * padded + 3 * x + c)] =
            rgb.data[static_cast<std::size_t>((y * odd.width + x) * 3 + 2 - c)];
      }
    }
  }
  check(to_rgb({bgr.data(), odd.width, odd.height, samdeploy::PixelFormat::bgr, padded}).data == rgb.data, "BGR rows");
  const std::vector<std::uint8_t> grey{1, 2, 3, 4};
  check(to_rgb({grey.data(), 2, 2, samdeploy::PixelFormat::grey, 0}).data ==
            std::vector<std::uint8_t>{1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4},
        "grey pixels");
}

/// Each ring from its smallest corner on, holes sorted.
Json rings_of(const samdeploy::Polygon& polygon) {
  const auto turned = [](const std::vector<samdeploy::Point>& ring) {
    std::vector<std::vector<double>> points;
    for (const auto& point : ring) points.push_back({point.x, point.y});
    std::rotate(points.begin(), std::min_element(points.begin(), points.end()), points.end());
    return points;
  };
  std::vector<std::vector<std::vector<double>>> holes;
  for (const auto& hole : polygon.holes) holes.push_back(turned(hole));
  std::sort(holes.begin(), holes.end());
  holes.insert(holes.begin(), turned(polygon.exterior));
  return holes;
}

double ring_area(const std::vector<samdeploy::Point>& ring) {
  double sum = 0;
  for (std::size_t i = 0; i < ring.size(); i++) {
    const auto& next = ring[(i + 1) % ring.size()];
    sum += ring[i].x * next.y - ring[i].y * next.x;
  }
  return std::abs(sum) / 2;
}

void test_bitmaps(const Cases& cases) {
  for (const Json& each : cases["bitmaps"]) {
    const samdeploy::Size size{each["size"][0], each["size"][1]};
    Bitmap bitmap(pixels(size));
    for (std::size_t pixel : each["pixels"]) bitmap[pixel] = 1;
    const Runs runs = Runs::encode(bitmap, size);
    const std::string shape = each["size"].dump();
    check(runs.to_coco().counts == each["rle"]["counts"], "run lengths of a mask " + shape);
    check(Runs::from_coco(runs.to_coco()).decode() == bitmap, "decoded run lengths of a mask " + shape);
    check(runs.area() == each["area"], "area of a mask " + shape);
    const auto box = runs.box();
    check(Json{box.x1, box.y1, box.x2, box.y2} == each["box"], "box of a mask " + shape);
    Json rings = Json::array();
    double simplified = 0;
    for (const auto& polygon : polygons_of(bitmap, size, 0)) rings.push_back(rings_of(polygon));
    for (const auto& polygon : polygons_of(bitmap, size, 1.5)) {
      simplified += ring_area(polygon.exterior);
      for (const auto& hole : polygon.holes) simplified -= ring_area(hole);
    }
    Json expected = each["rings"];
    std::sort(rings.begin(), rings.end());
    std::sort(expected.begin(), expected.end());
    check(rings == expected, "outlines of a mask " + shape);
    const double area = each["simplified"];
    check(std::abs(simplified - area) <= 0.05 * std::max(area, 20.0), "simplified outlines of a mask " + shape);
    auto areas = find_regions(bitmap, size, true).areas;
    std::sort(areas.begin(), areas.end());
    check(Json(areas) == each["regions"], "regions of a mask " + shape);
    samdeploy::Prompt prompt;
    prompt.bitmap = bitmap;
    const auto feeds = encode_prompts(&prompt, 1, Transform::fit(size, 64), families().front());
    const std::vector<float> logits = each["logits"];
    const auto& found = feeds.tensors.at("mask_input").data;
    double most = logits.size() == found.size() ? 0 : 8;
    for (std::size_t i = 0; i < std::min(logits.size(), found.size()); i++) {
      most = std::max(most, std::abs(static_cast<double>(logits[i]) - static_cast<double>(found[i])));
    }
    check(most <= 1e-4, "a mask as a prompt " + shape + " differs by " + std::to_string(most));
  }
}

}  // namespace

int main(int, char** arguments) {
  const Cases cases(arguments[1]);
  test_resizing(cases);
  test_formats(cases);
  test_hashes(cases);
  test_bitmaps(cases);
  return failures();
}

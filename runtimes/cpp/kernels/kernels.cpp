#include "kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <vector>

#include "model.h"

// What the arithmetic is made of is compiled for each instruction set. Standard headers are above: what is of theirs is
// compiled for every processor.
namespace samdeploy::kernels {

struct Outputs {
  float *iou, *score, *mask_tokens, *scale, *weights, *values;
};

// Features of the image, tile by tile: [C, TILE] after the first transposed convolution, with what is added there (SAM
// 2: [C, TILE] of its own for every tile; null: the same everywhere), and after the second ([2 C, TILE], or null).
struct Features {
  const float *base, *middle, *fine;
  int rows, columns;
};

// Compiled for other processors than the rest, up to END_CODE.
#if defined(__clang__)
#define PRAGMA(text) _Pragma(#text)
#define CODE_FOR(features) PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define END_CODE PRAGMA(clang attribute pop)
#elif defined(__GNUC__)
#define PRAGMA(text) _Pragma(#text)
#define CODE_FOR(features) PRAGMA(GCC push_options) PRAGMA(GCC target(features))
#define END_CODE PRAGMA(GCC pop_options)
#else
#error "The kernels are written for GCC and Clang, with vectors as types."
#endif

#if defined(__x86_64__)
CODE_FOR("avx512f,avx512bw,avx512dq,avx512vl,fma,avx2,bmi2")
namespace avx512 {
constexpr int LANES = 16, COLUMNS = 4;
#include "code.inc"
}  // namespace avx512
END_CODE
CODE_FOR("avx2,fma,bmi2")
namespace avx2 {
constexpr int LANES = 8, COLUMNS = 2;
#include "code.inc"
}  // namespace avx2
END_CODE
#elif defined(__aarch64__)
namespace neon {
constexpr int LANES = 4, COLUMNS = 4;
#include "code.inc"
}  // namespace neon
#endif

namespace {

struct Code {
  const char* name;
  int lanes;
  void (*score)(const Model&, const float*, const float*, const float*, long, const float*, const float*, int, int,
                const Outputs&);
  void (*masks)(const Model&, const Features&, const float*, const float*, const float*, const float*, int, float*);
};

// The widest instructions that this processor has; null where it has none of ours. SAMDEPLOY_KERNELS names narrower
// ones.
const Code* find_code() {
  const char* wanted = std::getenv("SAMDEPLOY_KERNELS");
  const auto allowed = [wanted](const char* name) { return !wanted || !*wanted || std::strcmp(wanted, name) == 0; };
#if defined(__x86_64__)
  static const Code wide{"avx512", 16, avx512::score, avx512::masks_of}, narrow{"avx2", 8, avx2::score, avx2::masks_of};
  __builtin_cpu_init();
  if (allowed(wide.name) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return &wide;
  if (allowed(narrow.name) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2"))
    return &narrow;
#elif defined(__aarch64__)
  static const Code only{"neon", 4, neon::score, neon::masks_of};
  if (allowed(only.name)) return &only;
#endif
  return nullptr;
}

const Code* code() {
  static const Code* const found = find_code();
  return found;
}

}  // namespace
}  // namespace samdeploy::kernels

using namespace samdeploy::kernels;

struct samk_model {
  Model model;
};

extern "C" {

const char* samk_instructions(void) { return code() ? code()->name : ""; }

int samk_lanes(void) { return code() ? code()->lanes : 0; }

samk_model* samk_open(const samk_tensor* tensors, int count, int image_size, int heads, char* why, size_t room) try {
  Tensors named;
  for (int i = 0; i < count; ++i)
    named[tensors[i].name] = {tensors[i].data, std::vector<long>(tensors[i].shape, tensors[i].shape + tensors[i].rank)};
  return new samk_model{read_model(named, image_size, heads)};
} catch (const std::exception& error) {
  std::snprintf(why, room, "%s", error.what());
  return nullptr;
}

void samk_close(samk_model* model) { delete model; }

samk_sizes samk_size(const samk_model* model) {
  const Model& m = model->model;
  return {m.channels, m.inner, m.heads, m.masks, m.own, m.score};
}

int samk_values(const samk_model* model, int points) {
  return 2 * model->model.heads * (model->model.own + points - 1) + 2;
}

int samk_score(const samk_model* model, const float* keys, const float* values, const float* norms, long long positions,
               const float* coords, const float* labels, int prompts, int points, float* iou, float* score,
               float* mask_tokens, float* mask_scale, float* mask_weights, float* mask_values) try {
  code()->score(model->model, keys, values, norms, static_cast<long>(positions), coords, labels, prompts, points,
                {iou, score, mask_tokens, mask_scale, mask_weights, mask_values});
  return 0;
} catch (const std::bad_alloc&) {
  return -1;
}

int samk_masks(const samk_model* model, const float* features, const float* middle, const float* fine, int rows,
               int columns, const float* mask_tokens, const float* mask_scale, const float* mask_weights,
               const float* mask_values, int prompts, int values, float* masks) try {
  const Model& m = model->model;
  const long positions = static_cast<long>(rows) * columns;
  const Features image{features, middle, fine, rows, columns};
  for (long b = 0; b < prompts; ++b)
    code()->masks(m, image, mask_tokens + b * m.masks * m.channels, mask_scale + b * positions,
                  mask_weights + b * values * positions, mask_values + b * values * m.channels, values,
                  masks + b * m.masks * 16 * positions);
  return 0;
} catch (const std::bad_alloc&) {
  return -1;
}

}  // extern "C"

/* The scorer and the mask head of SAM's split decoder in one pass over the image each, for processors.
   Plain C; arrays are float32, row by row, of the shapes that docs/embedding.md gives the graphs. */
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct samk_model samk_model;

typedef struct {
  const char* name;
  const float* data;
  const long long* shape;
  int rank;
} samk_tensor;

typedef struct {
  int channels, inner, heads, masks, own, score;
} samk_sizes;

/* The instruction set that is used here: "avx512", "avx2", "neon", or "" where there is none. */
const char* samk_instructions(void);

/* Null on failure, with the reason in ``why``. */
samk_model* samk_open(const samk_tensor* tensors, int count, int image_size, int heads, char* why, size_t room);
void samk_close(samk_model* model);
samk_sizes samk_size(const samk_model* model);

/* Floats of a register: the width of a head is padded to a multiple of them in ``values``. */
int samk_lanes(void);

/* Values that the scorer gives of prompts of so many points. */
int samk_values(const samk_model* model, int points);

/* What follows takes what is the image's in tiles of 64 positions (image tokens), with zeros behind the last:
   keys [tiles, 11 inner, 64], values [tiles, 3 heads, 64, padded width], norms [tiles, 3, 64];
   features [tiles, channels, 64], and SAM 2's high_res_tokens_1 (middle) [tiles, channels, 64] and high_res_tokens_0
   (fine) [tiles, 2 channels, 64], or null. All else is as the graphs have it. 0, or -1 where memory is short. */
int samk_score(const samk_model* model, const float* keys, const float* values, const float* norms, long long positions,
               const float* coords, const float* labels, int prompts, int points, float* iou, float* score,
               float* mask_tokens, float* mask_scale, float* mask_weights, float* mask_values);
int samk_masks(const samk_model* model, const float* features, const float* middle, const float* fine, int rows,
               int columns, const float* mask_tokens, const float* mask_scale, const float* mask_weights,
               const float* mask_values, int prompts, int values, float* masks);

#ifdef __cplusplus
}
#endif

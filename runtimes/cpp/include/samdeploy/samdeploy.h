/* Segment Anything models from a bundle of samdeploy: the C interface, for Swift, Kotlin, Rust, C# and others.
 *
 * Whatever can fail returns a status, and samdeploy_last_error() then tells why in one sentence. Handles are freed by
 * the function that is named after them; NULL is fine. Any thread may use a handle, but none while it is freed.
 * Coordinates are (x, y) in pixels of the image. Text is UTF-8. */
#ifndef SAMDEPLOY_H
#define SAMDEPLOY_H

#include <stddef.h>
#include <stdint.h>

#include "samdeploy/api.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum samdeploy_status {
  SAMDEPLOY_OK = 0,
  SAMDEPLOY_INPUT = 1,   /* a prompt, image or option is not usable */
  SAMDEPLOY_BUNDLE = 2,  /* a bundle is damaged, unsafe or newer than this version */
  SAMDEPLOY_RUNTIME = 3, /* a backend or device is not usable here, or failed */
  SAMDEPLOY_OUTPUT = 4,  /* a file cannot be written */
  SAMDEPLOY_OTHER = 5    /* memory ran out, or a bug */
} samdeploy_status;

typedef enum samdeploy_pixel_format {
  SAMDEPLOY_RGB = 0,
  SAMDEPLOY_BGR = 1,
  SAMDEPLOY_GREY = 2,
  SAMDEPLOY_RGBA = 3,
  SAMDEPLOY_BGRA = 4
} samdeploy_pixel_format;

typedef struct samdeploy_model samdeploy_model;
typedef struct samdeploy_embedding samdeploy_embedding;
typedef struct samdeploy_masks samdeploy_masks;
typedef struct samdeploy_settings samdeploy_settings;

/* Zeros are what is usual: the backend of the bundle, the processor, as many threads as it likes, fp32. */
typedef struct samdeploy_open_options {
  const char* backend;
  const char* device;
  const char* precision;
  int32_t threads;
  int32_t unproved;  /* not 0: leave samdeploy_prove out, which is done for every device but the processor */
  const char* cache; /* folder for prepared graphs, of one machine and as trusted as a bundle: a faster second start */
} samdeploy_open_options;

/* `stride`: bytes from one row to the next, 0 where there are none between them. */
typedef struct samdeploy_image {
  const uint8_t* data;
  int32_t width;
  int32_t height;
  int32_t format; /* samdeploy_pixel_format */
  int64_t stride;
} samdeploy_image;

/* Zeros are what is not there; at least one of points, box, logits and bitmap is. */
typedef struct samdeploy_prompt {
  const double* points;  /* point_count times x, y */
  const int32_t* labels; /* one a point, 1 foreground or 0 background; NULL: all foreground */
  size_t point_count;
  const double* box;   /* x1, y1, x2, y2 */
  const float* logits; /* of an earlier answer */
  size_t logit_count;
  const uint8_t* bitmap; /* of the image, a byte a pixel, 0 outside */
  size_t bitmap_count;
} samdeploy_prompt;

typedef struct samdeploy_mask {
  float score;    /* predicted IoU */
  int32_t prompt; /* index of the prompt that it answers; of a whole image that of the grid point */
  int32_t width;
  int32_t height;
  int64_t area;    /* pixels inside */
  double box[4];   /* first and last column and row with a pixel inside: x1, y1, x2, y2 */
  double point[2]; /* of a whole image the grid point, else not a number; so is stability */
  float stability; /* stability score */
} samdeploy_mask;

/* Told after every decoder call how many grid points are done, by the thread that called; 0 ends the work. */
typedef int32_t (*samdeploy_progress)(int32_t done, int32_t total, void* context);

/* Of the last call that failed in this thread; valid until its next one. */
SAMDEPLOY_API const char* samdeploy_last_error(void);
SAMDEPLOY_API const char* samdeploy_version(void);

/* `options` may be NULL. */
SAMDEPLOY_API samdeploy_status samdeploy_open(const char* bundle, const samdeploy_open_options* options,
                                              samdeploy_model** model);
/* Ask for the click whose answer the bundle holds; SAMDEPLOY_RUNTIME where this device is too far from it. */
SAMDEPLOY_API samdeploy_status samdeploy_prove(const samdeploy_model* model);
SAMDEPLOY_API void samdeploy_model_free(samdeploy_model* model);
/* Side of the encoder input in pixels; low-res logits have a quarter of it. */
SAMDEPLOY_API samdeploy_status samdeploy_image_size(const samdeploy_model* model, int32_t* side);

SAMDEPLOY_API samdeploy_status samdeploy_encode(const samdeploy_model* model, const samdeploy_image* image,
                                                samdeploy_embedding** embedding);
/* Python's file format, `.npz`. */
SAMDEPLOY_API samdeploy_status samdeploy_embedding_save(const samdeploy_embedding* embedding, const char* path);
SAMDEPLOY_API samdeploy_status samdeploy_embedding_load(const char* path, samdeploy_embedding** embedding);
SAMDEPLOY_API void samdeploy_embedding_free(samdeploy_embedding* embedding);

/* One mask a prompt, or three if `multimask` is not 0, prompt by prompt. */
SAMDEPLOY_API samdeploy_status samdeploy_predict(const samdeploy_model* model, const samdeploy_embedding* embedding,
                                                 const samdeploy_prompt* prompts, size_t prompt_count,
                                                 int32_t multimask, samdeploy_masks** masks);

/* Settings of whole-image mode, at first those that the model recommends. They are not for many threads. */
SAMDEPLOY_API samdeploy_status samdeploy_settings_create(const samdeploy_model* model, samdeploy_settings** settings);
/* Change one by its name and in the words of Python's command line: "points_stride", "16"; "mode", "adaptive". */
SAMDEPLOY_API samdeploy_status samdeploy_settings_set(samdeploy_settings* settings, const char* name,
                                                      const char* value);
/* A grid of one's own, x, y from 0 to 1, instead of points_stride: first of the image, then of each layer of crops. */
SAMDEPLOY_API samdeploy_status samdeploy_settings_add_grid(samdeploy_settings* settings, const double* points,
                                                           size_t point_count);
SAMDEPLOY_API void samdeploy_settings_free(samdeploy_settings* settings);

/* Masks of everything in an image. `settings` NULL: those that the model recommends; `progress` may be NULL. Work that
 * `progress` ended is SAMDEPLOY_INPUT, and there are no masks then. */
SAMDEPLOY_API samdeploy_status samdeploy_generate(const samdeploy_model* model, const samdeploy_image* image,
                                                  const samdeploy_settings* settings, samdeploy_progress progress,
                                                  void* context, samdeploy_masks** masks);

SAMDEPLOY_API size_t samdeploy_masks_count(const samdeploy_masks* masks);
SAMDEPLOY_API void samdeploy_masks_free(samdeploy_masks* masks);

SAMDEPLOY_API samdeploy_status samdeploy_mask_facts(const samdeploy_masks* masks, size_t index, samdeploy_mask* facts);
/* `length` is width times height; a byte a pixel, row by row, 1 inside. */
SAMDEPLOY_API samdeploy_status samdeploy_mask_bitmap(const samdeploy_masks* masks, size_t index, uint8_t* bitmap,
                                                     size_t length);
/* `counts` of COCO's compressed run lengths; it lives as long as `masks`. */
SAMDEPLOY_API samdeploy_status samdeploy_mask_counts(const samdeploy_masks* masks, size_t index, const char** counts);
/* For a later prompt; they live as long as `masks`. Masks of a whole image have none: `count` is 0. */
SAMDEPLOY_API samdeploy_status samdeploy_mask_logits(const samdeploy_masks* masks, size_t index, const float** logits,
                                                     size_t* count);

#ifdef __cplusplus
}
#endif

#endif

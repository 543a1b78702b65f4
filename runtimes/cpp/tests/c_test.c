/* The C interface as a C compiler sees it: a click, the whole image, their bad inputs, and nothing kept after many
 * rounds. */
#include <samdeploy/samdeploy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(right)                                                                          \
  do {                                                                                        \
    if (!(right)) {                                                                           \
      fprintf(stderr, "FAILED line %d: %s (%s)\n", __LINE__, #right, samdeploy_last_error()); \
      failures++;                                                                             \
    }                                                                                         \
  } while (0)

static int failures = 0;

enum { width = 400, height = 310, rounds = 6 };

static uint8_t picture[height][width][3];

/* The picture of the example in docs/embedding.md. */
static void paint(void) {
  for (int y = 0; y < height; y++) {
    for (int x = 0; x < width; x++) {
      const int disc = (x - 150) * (x - 150) + (y - 140) * (y - 140) < 6400;
      picture[y][x][0] = (uint8_t)(disc ? 200 : 40 + x / 4);
      picture[y][x][1] = (uint8_t)(disc ? 60 + x / 8 : 70 + y / 4);
      picture[y][x][2] = (uint8_t)(disc ? 50 : 150 - x / 8);
    }
  }
}

static void ask(const char* bundle, const samdeploy_open_options* options) {
  const samdeploy_image image = {&picture[0][0][0], width, height, SAMDEPLOY_RGB, 0};
  const double click[2] = {150, 140};
  const double box[4] = {70, 60, 230, 220};
  samdeploy_prompt prompts[2];
  samdeploy_model* model = NULL;
  samdeploy_embedding* embedding = NULL;
  samdeploy_masks* masks = NULL;
  samdeploy_mask facts;
  const char* counts = NULL;
  const float* logits = NULL;
  size_t logit_count = 0;
  int32_t side = 0;
  uint8_t* bitmap = malloc((size_t)width * height);
  int64_t inside = 0;
  memset(prompts, 0, sizeof prompts);
  prompts[0].points = click;
  prompts[0].point_count = 1;
  prompts[1].box = box;
  CHECK(samdeploy_open(bundle, options, &model) == SAMDEPLOY_OK);
  CHECK(samdeploy_prove(model) == SAMDEPLOY_OK && samdeploy_prove(NULL) == SAMDEPLOY_INPUT);
  CHECK(samdeploy_image_size(model, &side) == SAMDEPLOY_OK && side == 256);
  CHECK(samdeploy_encode(model, &image, &embedding) == SAMDEPLOY_OK);
  CHECK(samdeploy_predict(model, embedding, prompts, 2, 0, &masks) == SAMDEPLOY_OK);
  CHECK(samdeploy_masks_count(masks) == 2);
  CHECK(samdeploy_mask_facts(masks, 0, &facts) == SAMDEPLOY_OK);
  /* Output 0 of the click, as the document says. */
  CHECK(labs((long)facts.area - 19998) < 10 && facts.box[0] == 70 && facts.box[3] == 219);
  CHECK(facts.score > 0.974F && facts.score < 0.994F);
  CHECK(samdeploy_mask_bitmap(masks, 0, bitmap, (size_t)width * height) == SAMDEPLOY_OK);
  for (size_t i = 0; i < (size_t)width * height; i++) inside += bitmap[i];
  CHECK(inside == facts.area);
  CHECK(samdeploy_mask_counts(masks, 0, &counts) == SAMDEPLOY_OK && strlen(counts) > 100);
  CHECK(samdeploy_mask_logits(masks, 0, &logits, &logit_count) == SAMDEPLOY_OK && logit_count == 64 * 64);
  prompts[0].logits = logits;
  prompts[0].logit_count = logit_count;
  samdeploy_masks* again = NULL;
  CHECK(samdeploy_predict(model, embedding, prompts, 1, 1, &again) == SAMDEPLOY_OK);
  CHECK(samdeploy_masks_count(again) == 3);
  samdeploy_masks_free(again);
  CHECK(samdeploy_mask_facts(masks, 2, &facts) == SAMDEPLOY_INPUT && strstr(samdeploy_last_error(), "mask 2 of 2"));
  CHECK(samdeploy_mask_bitmap(masks, 0, bitmap, 5) == SAMDEPLOY_INPUT);
  samdeploy_masks_free(masks);
  samdeploy_embedding_free(embedding);
  samdeploy_model_free(model);
  free(bitmap);
}

typedef struct seen {
  int32_t calls;
  int32_t done;
  int32_t total;
  int32_t most;
} seen;

/* Counts, and wants no more after `most` calls. */
static int32_t watch(int32_t done, int32_t total, void* context) {
  seen* so_far = context;
  CHECK(done > so_far->done && done <= total);
  so_far->calls++;
  so_far->done = done;
  so_far->total = total;
  return so_far->calls < so_far->most;
}

static void ask_for_everything(const char* bundle, const samdeploy_open_options* options) {
  const samdeploy_image image = {&picture[0][0][0], width, height, SAMDEPLOY_RGB, 0};
  const double grid[4] = {0.375, 0.45, 0.9, 0.9};
  seen whole = {0, 0, 0, 1000};
  seen cut = {0, 0, 0, 2};
  samdeploy_model* model = NULL;
  samdeploy_settings* settings = NULL;
  samdeploy_masks* masks = (samdeploy_masks*)&failures;
  samdeploy_mask facts;
  const float* logits = NULL;
  size_t logit_count = 1;
  CHECK(samdeploy_open(bundle, options, &model) == SAMDEPLOY_OK);
  CHECK(samdeploy_settings_create(model, &settings) == SAMDEPLOY_OK);
  CHECK(samdeploy_settings_set(settings, "points_stride", "six") == SAMDEPLOY_INPUT);
  CHECK(strstr(samdeploy_last_error(), "points_stride=six; expected a whole number.") != NULL);
  CHECK(samdeploy_settings_set(settings, "points", "6") == SAMDEPLOY_INPUT);
  CHECK(samdeploy_settings_set(settings, "points_stride", "6") == SAMDEPLOY_OK);
  CHECK(samdeploy_settings_set(settings, "mode", "grid") == SAMDEPLOY_OK);
  CHECK(samdeploy_generate(model, &image, settings, watch, &cut, &masks) == SAMDEPLOY_INPUT && masks == NULL);
  CHECK(strstr(samdeploy_last_error(), "cancelled at 8 of 36") != NULL && cut.calls == 2);
  CHECK(samdeploy_generate(model, &image, settings, watch, &whole, &masks) == SAMDEPLOY_OK);
  CHECK(whole.done == 36 && whole.total == 36 && samdeploy_masks_count(masks) > 0);
  CHECK(samdeploy_mask_facts(masks, 0, &facts) == SAMDEPLOY_OK);
  CHECK(facts.stability >= 0.95F && facts.prompt < 36 && facts.point[0] > 0 && facts.point[0] < width);
  CHECK(samdeploy_mask_logits(masks, 0, &logits, &logit_count) == SAMDEPLOY_OK && logit_count == 0);
  samdeploy_masks_free(masks);
  /* The disc alone. */
  CHECK(samdeploy_settings_add_grid(settings, NULL, 1) == SAMDEPLOY_INPUT);
  CHECK(samdeploy_settings_add_grid(settings, grid, 2) == SAMDEPLOY_OK);
  CHECK(samdeploy_generate(model, &image, settings, NULL, NULL, &masks) == SAMDEPLOY_OK);
  CHECK(samdeploy_masks_count(masks) > 0 && samdeploy_mask_facts(masks, 0, &facts) == SAMDEPLOY_OK);
  samdeploy_masks_free(masks);
  CHECK(samdeploy_settings_add_grid(settings, grid, 2) == SAMDEPLOY_OK);
  CHECK(samdeploy_generate(model, &image, settings, NULL, NULL, &masks) == SAMDEPLOY_INPUT && masks == NULL);
  CHECK(samdeploy_generate(model, NULL, NULL, NULL, NULL, &masks) == SAMDEPLOY_INPUT);
  samdeploy_settings_free(settings);
  samdeploy_settings_free(NULL);
  samdeploy_model_free(model);
}

static void refuse(const char* bundle) {
  samdeploy_model* model = (samdeploy_model*)&failures;
  samdeploy_embedding* embedding = NULL;
  CHECK(samdeploy_open("nowhere", NULL, &model) == SAMDEPLOY_BUNDLE && model == NULL);
  CHECK(strstr(samdeploy_last_error(), "'nowhere' is not a bundle") != NULL);
  CHECK(samdeploy_open(NULL, NULL, &model) == SAMDEPLOY_INPUT);
  CHECK(samdeploy_open(bundle, NULL, NULL) == SAMDEPLOY_INPUT);
  CHECK(samdeploy_encode(NULL, NULL, &embedding) == SAMDEPLOY_INPUT);
  CHECK(samdeploy_embedding_load("nowhere", &embedding) == SAMDEPLOY_INPUT);
  CHECK(samdeploy_masks_count(NULL) == 0);
  samdeploy_model_free(NULL);
  samdeploy_embedding_free(NULL);
  samdeploy_masks_free(NULL);
}

int main(int count, char** arguments) {
  if (count != 3) return 2;
  char bundle[4096];
  samdeploy_open_options options = {arguments[2], NULL, NULL, 1, 0, NULL};
  snprintf(bundle, sizeof bundle, "%s/sam_tiny", arguments[1]);
  paint();
  for (int round = 0; round < rounds; round++) ask(bundle, &options);
  ask_for_everything(bundle, &options);
  refuse(bundle);
  printf("samdeploy %s, %d failures\n", samdeploy_version(), failures);
  return failures;
}

/* Trains a network from C: a whole training step, gradients and optimizer included, is one call
   whose variables are arguments that it changes in place.

   Build as digits.c says, with the artifact train.graphc, and run:
     ./train train.graphc train.bin steps

   train.bin: int64 count; float images[count][64]; int32 labels[count];
   float losses[steps], as Python computed them. */

#include "files.h"
#include "train.h"

enum { PIXELS = 64, BATCH = 64 };

static const char *const names[TRAIN_VARIABLES] = TRAIN_VARIABLE_NAMES;
static const size_t sizes[TRAIN_VARIABLES] = TRAIN_VARIABLE_BYTES;

/* The value of a variable in a safetensors file: 8 bytes that say how long the JSON after them
   is, the JSON ("name":{..., "data_offsets":[begin,end]}), the data. */
static void *read_variable(char *file, const char *name, size_t bytes) {
  int64_t header;
  memcpy(&header, file, sizeof header);
  char *json = file + sizeof header, key[256];
  snprintf(key, sizeof key, "\"%s\":{", name);
  const char *entry = strstr(json, key);
  if (entry == NULL) fail("no such variable", name);
  const char *offsets = strstr(entry, "\"data_offsets\":[");
  if (offsets == NULL) fail("no offsets", name);
  const long long begin = atoll(offsets + strlen("\"data_offsets\":["));
  return memcpy(aligned(bytes), json + header + begin, bytes);
}

int main(int argc, char **argv) {
  if (argc < 4) fail("usage", "train train.graphc train.bin steps");
  size_t bytes;
  const void *constants = read_part(argv[1], "constants-host.bin", &bytes);
  if (bytes != TRAIN_CONSTANT_BYTES_HOST) fail("of another artifact", argv[1]);
  char *file = read_part(argv[1], "variables.safetensors", &bytes);
  void *variables[TRAIN_VARIABLES];
  for (int i = 0; i < TRAIN_VARIABLES; i++)
    variables[i] = read_variable(file, names[i], sizes[i]);

  char *data = read_file(argv[2], &bytes);
  int64_t count;
  memcpy(&count, data, sizeof count);
  const float *images = (const float *)(data + sizeof count);
  const int32_t *labels = (const int32_t *)(images + count * PIXELS);
  const float *expected = (const float *)(labels + count);

  const int64_t dims[TRAIN_DIMS] = {BATCH};
  void *workspace = aligned((size_t)train_workspace_size(dims));
  const int steps = atoi(argv[3]);
  float *losses = aligned((size_t)steps * sizeof *losses);
  const int64_t batches = count / BATCH;
  const double start = seconds();
  for (int step = 0; step < steps; step++) {
    const int64_t first = step % batches * BATCH;
    const void *inputs[TRAIN_INPUTS] = {images + first * PIXELS, labels + first};
    void *outputs[TRAIN_OUTPUTS] = {losses + step};
    if (train_run(constants, variables, workspace, inputs, outputs, dims, NULL) != 0)
      fail("the run failed", "see the status words in train.h");
  }
  const double step_us = 1e6 * (seconds() - start) / steps;

  const int same = memcmp(losses, expected, (size_t)steps * sizeof *losses) == 0;
  printf("loss %.6f\n", losses[steps - 1]);
  printf("step_us %.2f\n", step_us);
  printf("losses %s\n", same ? "equal" : "DIFFERENT");
  return same ? 0 : 2;
}

/* Classifies handwritten digits with a network that graphc compiled: no Python in this process.

   Build, in the folder that holds the artifact digits.graphc (examples/demo.py does all this):
     cc -std=gnu11 -O2 -I digits.graphc digits.c digits.graphc/digits-host.o \
        digits.graphc/pool-host.o -lpthread -o digits
   Run:
     ./digits digits.graphc images.bin [threads]

   images.bin: int64 count; float images[count][64]; int32 labels[count];
   float logits[count][10], as Python computed them. */

#include "digits.h"
#include "files.h"

enum { PIXELS = 64, CLASSES = 10, REPEATS = 200 };

static const void *constants;

/* The logits of count images: the whole use of the compiled network. */
static void classify(int64_t count, const float *images, float *logits, void *workspace,
                     const graphc_parallel *parallel) {
  const int64_t dims[DIGITS_DIMS] = {count};
  const void *inputs[DIGITS_INPUTS] = {images};
  void *outputs[DIGITS_OUTPUTS] = {logits};
  if (digits_run(constants, NULL, workspace, inputs, outputs, dims, parallel) != 0)
    fail("the run failed", "see the status words in digits.h");
}

static int64_t count_right(int64_t count, const float *logits, const int32_t *labels) {
  int64_t right = 0;
  for (int64_t i = 0; i < count; i++) {
    int best = 0;
    for (int c = 1; c < CLASSES; c++)
      if (logits[i * CLASSES + c] > logits[i * CLASSES + best]) best = c;
    right += best == labels[i];
  }
  return right;
}

int main(int argc, char **argv) {
  if (argc < 3) fail("usage", "digits digits.graphc images.bin [threads]");
  size_t bytes, constant_bytes;
  constants = read_part(argv[1], "constants-host.bin", &constant_bytes);
  if (constant_bytes != DIGITS_CONSTANT_BYTES_HOST) fail("of another artifact", argv[1]);
  char *data = read_file(argv[2], &bytes);
  int64_t count;
  memcpy(&count, data, sizeof count);
  const float *images = (const float *)(data + sizeof count);
  const int32_t *labels = (const int32_t *)(images + count * PIXELS);
  const float *expected = (const float *)(labels + count);

  /* A pool is optional: without one, a NULL in place of &parallel, all runs on this thread. */
  void *pool = graphc_pool_create(argc > 3 ? atoi(argv[3]) : 1);
  if (pool == NULL) fail("no threads", "graphc_pool_create");
  const graphc_parallel parallel = {graphc_pool_parallel, pool};

  float *logits = aligned((size_t)count * CLASSES * sizeof *logits);
  void *workspace = aligned((size_t)digits_workspace_size(&count));
  classify(count, images, logits, workspace, &parallel);
  const int same = memcmp(logits, expected, (size_t)count * CLASSES * sizeof *logits) == 0;

  double start = seconds();
  for (int i = 0; i < REPEATS; i++) classify(count, images, logits, workspace, &parallel);
  const double batch = (seconds() - start) / REPEATS;
  start = seconds();
  for (int i = 0; i < REPEATS; i++) classify(1, images, logits, workspace, NULL);
  const double one = (seconds() - start) / REPEATS;

  printf("accuracy %.4f\n", (double)count_right(count, expected, labels) / (double)count);
  printf("batch_us %.2f\n", 1e6 * batch);
  printf("image_us %.2f\n", 1e6 * one);
  printf("logits %s\n", same ? "equal" : "DIFFERENT");
  graphc_pool_destroy(pool);
  return same ? 0 : 2;
}

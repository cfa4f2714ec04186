/* What both programs need of the system: files in aligned memory, and the time. */
#ifndef FILES_H
#define FILES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void fail(const char *what, const char *which) {
  fprintf(stderr, "%s: %s\n", what, which);
  exit(1);
}

/* Memory at a multiple of 64 bytes, as constants and workspace must be. */
static void *aligned(size_t bytes) {
  void *memory = aligned_alloc(64, (bytes + 64) / 64 * 64);
  if (memory == NULL) fail("out of memory", "aligned_alloc");
  return memory;
}

static void *read_file(const char *path, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) fail("cannot open", path);
  fseek(file, 0, SEEK_END);
  *bytes = (size_t)ftell(file);
  rewind(file);
  char *memory = aligned(*bytes + 1);
  if (fread(memory, 1, *bytes, file) != *bytes) fail("cannot read", path);
  memory[*bytes] = 0;
  fclose(file);
  return memory;
}

/* A file of an artifact, which is a folder. */
static void *read_part(const char *folder, const char *name, size_t *bytes) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return read_file(path, bytes);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif

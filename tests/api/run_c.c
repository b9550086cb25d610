/* The C interface: runs an engine twice on made-up input, and checks what it says about errors.
 *
 *   run_c ENGINE BATCH   prints the first values of the first output */
#include "octet/octet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                    \
  do {                                                                                      \
    if (!(condition)) {                                                                     \
      fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, octet_last_error());       \
      exit(1);                                                                              \
    }                                                                                       \
  } while (0)

int main(int count, char** words) {
  octet_engine* engine;
  octet_context* context;
  int64_t shape[8];
  size_t i, elements = 1;
  int rank;
  float* image;
  if (count != 3) return 2;

  CHECK(octet_engine_load("/nonexistent") == NULL);
  CHECK(strstr(octet_last_error(), "/nonexistent") != NULL);
  CHECK(octet_engine_load(NULL) == NULL);
  CHECK(octet_engine_load_memory("garbage", 7) == NULL);
  CHECK(octet_run(NULL) == OCTET_INVALID_ARGUMENT);
  CHECK(strlen(octet_version()) > 0);

  CHECK((engine = octet_engine_load(words[1])) != NULL);
  CHECK(octet_input_count(engine) == 1 && octet_output_count(engine) >= 1);
  CHECK(octet_input_name(engine, 0) != NULL && octet_input_name(engine, 1) == NULL);
  CHECK(octet_input_dtype(engine, 0) == OCTET_FLOAT32 && octet_input_dtype(engine, 9) == -1);
  CHECK((context = octet_context_create(engine, 1)) != NULL);
  CHECK(octet_context_create(engine, -1) == NULL);
  octet_engine_free(engine); /* the context keeps it */

  rank = octet_input_shape(context, 0, shape, 8);
  CHECK(rank == 4 && octet_input_shape(context, 5, shape, 8) == -1);
  shape[0] = 3;
  shape[1] = 77;
  CHECK(octet_set_input_shape(context, 0, shape, 4) == OCTET_INVALID_ARGUMENT);
  CHECK(octet_input_shape(context, 0, shape, 8) == 4);
  shape[0] = atoi(words[2]);
  CHECK(octet_set_input_shape(context, 0, shape, 4) == OCTET_OK);
  CHECK(octet_input_shape(context, 0, shape, 8) == 4 && shape[0] == atoi(words[2]));
  for (i = 0; i < 4; ++i) elements *= (size_t)shape[i];
  image = malloc(elements * sizeof *image);
  CHECK(image != NULL);
  for (i = 0; i < elements; ++i) image[i] = (float)(i % 251);
  CHECK(octet_run(context) == OCTET_INVALID_ARGUMENT); /* no input yet */
  CHECK(octet_set_input(context, 0, image, 4) == OCTET_INVALID_ARGUMENT);
  CHECK(octet_set_input(context, 0, image, elements * sizeof *image) == OCTET_OK);
  CHECK(octet_run(context) == OCTET_OK);
  CHECK(octet_output(context, 99) == NULL);
  CHECK(octet_output_shape(context, 0, shape, 8) > 0 && shape[0] == atoi(words[2]));
  for (i = 0; i < octet_output_bytes(context, 0) / sizeof(float); ++i)
    printf("%.9g\n", (double)((const float*)octet_output(context, 0))[i]);
  free(image);
  octet_context_free(context);
  octet_context_free(NULL);
  return 0;
}

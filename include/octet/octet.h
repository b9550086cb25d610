/* Octet's runtime in C, for other languages: load an engine, ask for shapes, run. Link `octet_runtime`.
 *
 *   octet_engine* engine = octet_engine_load("model.octet");
 *   octet_context* context = engine ? octet_context_create(engine, 1) : NULL;
 *   if (!context || octet_set_input(context, 0, image, sizeof image) || octet_run(context))
 *     fprintf(stderr, "%s\n", octet_last_error());
 *   const float* scores = octet_output(context, 0);
 *
 * Functions that return int give 0, or the code of an error; those that return pointers give NULL. What went
 * wrong is then octet_last_error(), of the calling thread. Threads: an engine may be shared by any number of
 * contexts on any threads; a context is used by one thread at a time. */
#ifndef OCTET_OCTET_H_
#define OCTET_OCTET_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct octet_engine octet_engine;
typedef struct octet_context octet_context;

typedef enum octet_status {
  OCTET_OK = 0,
  OCTET_INVALID_ARGUMENT = 1,
  OCTET_NOT_FOUND = 2,
  OCTET_BAD_FILE = 3,
  OCTET_UNSUPPORTED = 4,
  OCTET_IO = 5,
  OCTET_OUT_OF_MEMORY = 6,
  OCTET_INTERNAL = 7
} octet_status;

typedef enum octet_dtype {
  OCTET_FLOAT32 = 0,
  OCTET_FLOAT16 = 1,
  OCTET_BFLOAT16 = 2,
  OCTET_FLOAT64 = 3,
  OCTET_INT8 = 4,
  OCTET_UINT8 = 5,
  OCTET_INT16 = 6,
  OCTET_UINT16 = 7,
  OCTET_INT32 = 8,
  OCTET_UINT32 = 9,
  OCTET_INT64 = 10,
  OCTET_UINT64 = 11,
  OCTET_BOOL = 12
} octet_dtype;

/* Text of the calling thread's last error; "" before the first. Valid until its next error. */
const char* octet_last_error(void);
const char* octet_version(void);

/* A file (which must not change while the engine lives), or its content, which is copied. */
octet_engine* octet_engine_load(const char* path);
octet_engine* octet_engine_load_memory(const void* data, size_t size);
/* Contexts keep their engine: it may be freed before them. NULL is allowed in both. */
void octet_engine_free(octet_engine* engine);

size_t octet_input_count(const octet_engine* engine);
size_t octet_output_count(const octet_engine* engine);
/* NULL, and -1, when there is no such input or output. Names live as long as the engine. */
const char* octet_input_name(const octet_engine* engine, size_t index);
const char* octet_output_name(const octet_engine* engine, size_t index);
int octet_input_dtype(const octet_engine* engine, size_t index);
int octet_output_dtype(const octet_engine* engine, size_t index);

/* `threads` that compute; 0: one for each CPU. Open dimensions have their likely sizes at first. */
octet_context* octet_context_create(const octet_engine* engine, int threads);
void octet_context_free(octet_context* context);

/* The shape of an input for the next runs. Where an engine has several inputs whose open dimensions depend on
 * each other, the change takes effect with the last of them. */
int octet_set_input_shape(octet_context* context, size_t index, const int64_t* shape, size_t rank);
/* Fills `shape` up to `capacity` and returns the rank, or -1. Of an output: that of the last run; -1 stands
 * for sizes that only the data decide. */
int octet_input_shape(const octet_context* context, size_t index, int64_t* shape, size_t capacity);
int octet_output_shape(const octet_context* context, size_t index, int64_t* shape, size_t capacity);

/* Elements, dense and row-major in ONNX's order, read by octet_run(). `bytes` must be the input's size. */
int octet_set_input(octet_context* context, size_t index, const void* data, size_t bytes);
int octet_run(octet_context* context);
/* The last run's elements, valid until the next, and their size in bytes. */
const void* octet_output(const octet_context* context, size_t index);
size_t octet_output_bytes(const octet_context* context, size_t index);

#ifdef __cplusplus
}
#endif
#endif

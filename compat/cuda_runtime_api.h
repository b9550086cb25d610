// CUDA's memory, stream and event calls on host memory, for programs that are built without CUDA: what they
// allocate "on the device" is ordinary memory, copies are memcpy, and streams run everything at once.
//
// Names, values and meaning: NVIDIA, "CUDA Runtime API" reference.
#ifndef OCTET_COMPAT_CUDA_RUNTIME_API_H_
#define OCTET_COMPAT_CUDA_RUNTIME_API_H_

#ifdef __CUDACC__
#error "compat/ stands in for CUDA: leave it out of the include path where there is CUDA"
#endif

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CUDART_VERSION 11080
#define CUDART_CB

enum cudaError {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInitializationError = 3,
  cudaErrorInvalidMemcpyDirection = 21,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorNotSupported = 801,
  cudaErrorUnknown = 999
};
typedef enum cudaError cudaError_t;

enum cudaMemcpyKind {
  cudaMemcpyHostToHost = 0,
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3,
  cudaMemcpyDefault = 4
};

struct CUstream_st {
  unsigned int flags;
};
typedef struct CUstream_st* cudaStream_t;
struct CUevent_st {
  struct timespec at;
  int recorded;
};
typedef struct CUevent_st* cudaEvent_t;

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  size_t sharedMemPerBlock;
  int warpSize;
  int maxThreadsPerBlock;
  int major;
  int minor;
  int multiProcessorCount;
  int clockRate;
  int memoryClockRate;
  int memoryBusWidth;
  int integrated;
};

#define cudaStreamDefault 0x00
#define cudaStreamNonBlocking 0x01
#define cudaEventDefault 0x00
#define cudaEventBlockingSync 0x01
#define cudaEventDisableTiming 0x02
#define cudaHostAllocDefault 0x00
#define cudaHostAllocPortable 0x01
#define cudaHostAllocMapped 0x02
#define cudaHostAllocWriteCombined 0x04
#define cudaHostRegisterDefault 0x00
#define cudaMemAttachGlobal 0x01
#define cudaDeviceScheduleAuto 0x00
#define cudaDeviceScheduleSpin 0x01
#define cudaDeviceScheduleYield 0x02
#define cudaDeviceScheduleBlockingSync 0x04
#define cudaDeviceMapHost 0x08

#define OCTET_CUDA static inline __attribute__((unused))
#ifdef __cplusplus
#define OCTET_CUDA_DEFAULT(value) = value
#else
#define OCTET_CUDA_DEFAULT(value)
#endif

// The error that the next cudaGetLastError() of this thread tells; each file has its own.
OCTET_CUDA cudaError_t* octet_cuda_last(void) {
  static __thread cudaError_t last = cudaSuccess;
  return &last;
}
OCTET_CUDA cudaError_t octet_cuda_status(cudaError_t status) {
  if (status != cudaSuccess) *octet_cuda_last() = status;
  return status;
}
OCTET_CUDA cudaError_t cudaGetLastError(void) {
  const cudaError_t last = *octet_cuda_last();
  *octet_cuda_last() = cudaSuccess;
  return last;
}
OCTET_CUDA cudaError_t cudaPeekAtLastError(void) {
  return *octet_cuda_last();
}

OCTET_CUDA const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInitializationError:
      return "cudaErrorInitializationError";
    case cudaErrorInvalidMemcpyDirection:
      return "cudaErrorInvalidMemcpyDirection";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorNotSupported:
      return "cudaErrorNotSupported";
    case cudaErrorUnknown:
      break;
  }
  return "cudaErrorUnknown";
}
OCTET_CUDA const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInitializationError:
      return "initialization error";
    case cudaErrorInvalidMemcpyDirection:
      return "invalid copy direction for memcpy";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorNotSupported:
      return "operation not supported";
    case cudaErrorUnknown:
      break;
  }
  return "unknown error";
}

// --- devices: one, the CPU

OCTET_CUDA cudaError_t cudaGetDeviceCount(int* count) {
  if (count == NULL) return octet_cuda_status(cudaErrorInvalidValue);
  *count = 1;
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaSetDevice(int device) {
  return octet_cuda_status(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
OCTET_CUDA cudaError_t cudaGetDevice(int* device) {
  if (device == NULL) return octet_cuda_status(cudaErrorInvalidValue);
  *device = 0;
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaSetDeviceFlags(unsigned int flags) {
  (void)flags;
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp* properties, int device) {
  if (properties == NULL) return octet_cuda_status(cudaErrorInvalidValue);
  if (device != 0) return octet_cuda_status(cudaErrorInvalidDevice);
  memset(properties, 0, sizeof *properties);
  strcpy(properties->name, "CPU (Octet)");
  properties->warpSize = 1;
  properties->multiProcessorCount = 1;
  properties->integrated = 1;
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaDeviceSynchronize(void) {
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaDeviceReset(void) {
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaRuntimeGetVersion(int* version) {
  if (version == NULL) return octet_cuda_status(cudaErrorInvalidValue);
  *version = CUDART_VERSION;
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaDriverGetVersion(int* version) {
  return cudaRuntimeGetVersion(version);
}

// --- memory

OCTET_CUDA cudaError_t cudaMalloc(void** pointer, size_t size) {
  if (pointer == NULL) return octet_cuda_status(cudaErrorInvalidValue);
  *pointer = NULL;
  if (size == 0) return cudaSuccess;
  if (posix_memalign(pointer, 256, size) != 0) {
    *pointer = NULL;
    return octet_cuda_status(cudaErrorMemoryAllocation);
  }
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaFree(void* pointer) {
  free(pointer);
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaMallocHost(void** pointer, size_t size) {
  return cudaMalloc(pointer, size);
}
OCTET_CUDA cudaError_t cudaHostAlloc(void** pointer, size_t size, unsigned int flags) {
  (void)flags;
  return cudaMalloc(pointer, size);
}
OCTET_CUDA cudaError_t cudaMallocManaged(void** pointer, size_t size,
                                         unsigned int flags OCTET_CUDA_DEFAULT(1)) {
  (void)flags;
  return cudaMalloc(pointer, size);
}
OCTET_CUDA cudaError_t cudaMallocAsync(void** pointer, size_t size, cudaStream_t stream) {
  (void)stream;
  return cudaMalloc(pointer, size);
}
OCTET_CUDA cudaError_t cudaFreeHost(void* pointer) {
  return cudaFree(pointer);
}
OCTET_CUDA cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  (void)stream;
  return cudaFree(pointer);
}
OCTET_CUDA cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned int flags) {
  (void)flags;
  if (device == NULL) return octet_cuda_status(cudaErrorInvalidValue);
  *device = host;
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaHostRegister(void* pointer, size_t size, unsigned int flags) {
  (void)size;
  (void)flags;
  return octet_cuda_status(pointer == NULL ? cudaErrorInvalidValue : cudaSuccess);
}
OCTET_CUDA cudaError_t cudaHostUnregister(void* pointer) {
  return octet_cuda_status(pointer == NULL ? cudaErrorInvalidValue : cudaSuccess);
}

OCTET_CUDA cudaError_t cudaMemcpy(void* to, const void* from, size_t size, enum cudaMemcpyKind kind) {
  if ((int)kind < 0 || (int)kind > 4) return octet_cuda_status(cudaErrorInvalidMemcpyDirection);
  if (size == 0) return cudaSuccess;
  if (to == NULL || from == NULL) return octet_cuda_status(cudaErrorInvalidValue);
  memmove(to, from, size);
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, enum cudaMemcpyKind kind,
                                       cudaStream_t stream OCTET_CUDA_DEFAULT(NULL)) {
  (void)stream;
  return cudaMemcpy(to, from, size, kind);
}
OCTET_CUDA cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                                    size_t width, size_t height, enum cudaMemcpyKind kind) {
  size_t row;
  if (width > to_pitch || width > from_pitch) return octet_cuda_status(cudaErrorInvalidValue);
  for (row = 0; row < height; ++row) {
    const cudaError_t status =
        cudaMemcpy((char*)to + row * to_pitch, (const char*)from + row * from_pitch, width, kind);
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaMemset(void* pointer, int value, size_t size) {
  if (size == 0) return cudaSuccess;
  if (pointer == NULL) return octet_cuda_status(cudaErrorInvalidValue);
  memset(pointer, value, size);
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaMemsetAsync(void* pointer, int value, size_t size,
                                       cudaStream_t stream OCTET_CUDA_DEFAULT(NULL)) {
  (void)stream;
  return cudaMemset(pointer, value, size);
}

// --- streams

OCTET_CUDA cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags) {
  if (stream == NULL) return octet_cuda_status(cudaErrorInvalidValue);
  *stream = (cudaStream_t)malloc(sizeof(struct CUstream_st));
  if (*stream == NULL) return octet_cuda_status(cudaErrorMemoryAllocation);
  (*stream)->flags = flags;
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, 0);
}
OCTET_CUDA cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned int flags, int priority) {
  (void)priority;
  return cudaStreamCreateWithFlags(stream, flags);
}
OCTET_CUDA cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == NULL) return octet_cuda_status(cudaErrorInvalidResourceHandle);
  free(stream);
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  (void)stream;
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaStreamQuery(cudaStream_t stream) {
  (void)stream;
  return cudaSuccess;
}

// --- events: points in time

OCTET_CUDA cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int flags) {
  (void)flags;
  if (event == NULL) return octet_cuda_status(cudaErrorInvalidValue);
  *event = (cudaEvent_t)calloc(1, sizeof(struct CUevent_st));
  return octet_cuda_status(*event == NULL ? cudaErrorMemoryAllocation : cudaSuccess);
}
OCTET_CUDA cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, 0);
}
OCTET_CUDA cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream OCTET_CUDA_DEFAULT(NULL)) {
  (void)stream;
  if (event == NULL) return octet_cuda_status(cudaErrorInvalidResourceHandle);
  timespec_get(&event->at, TIME_UTC);
  event->recorded = 1;
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return octet_cuda_status(event == NULL ? cudaErrorInvalidResourceHandle : cudaSuccess);
}
OCTET_CUDA cudaError_t cudaEventQuery(cudaEvent_t event) {
  return cudaEventSynchronize(event);
}
OCTET_CUDA cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (milliseconds == NULL) return octet_cuda_status(cudaErrorInvalidValue);
  if (start == NULL || end == NULL || !start->recorded || !end->recorded)
    return octet_cuda_status(cudaErrorInvalidResourceHandle);
  *milliseconds = (float)((double)(end->at.tv_sec - start->at.tv_sec) * 1e3 +
                          (double)(end->at.tv_nsec - start->at.tv_nsec) * 1e-6);
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event == NULL) return octet_cuda_status(cudaErrorInvalidResourceHandle);
  free(event);
  return cudaSuccess;
}
OCTET_CUDA cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event,
                                           unsigned int flags OCTET_CUDA_DEFAULT(0)) {
  (void)stream;
  (void)flags;
  return cudaEventSynchronize(event);
}

#ifdef __cplusplus
// Pointers of any type, as cuda_runtime.h has them.
template <typename T>
inline cudaError_t cudaMalloc(T** pointer, size_t size) {
  return ::cudaMalloc(reinterpret_cast<void**>(pointer), size);
}
template <typename T>
inline cudaError_t cudaMallocHost(T** pointer, size_t size) {
  return ::cudaMallocHost(reinterpret_cast<void**>(pointer), size);
}
template <typename T>
inline cudaError_t cudaHostAlloc(T** pointer, size_t size, unsigned int flags) {
  return ::cudaHostAlloc(reinterpret_cast<void**>(pointer), size, flags);
}
template <typename T>
inline cudaError_t cudaMallocManaged(T** pointer, size_t size, unsigned int flags = 1) {
  return ::cudaMallocManaged(reinterpret_cast<void**>(pointer), size, flags);
}
#endif

#undef OCTET_CUDA
#undef OCTET_CUDA_DEFAULT
#endif

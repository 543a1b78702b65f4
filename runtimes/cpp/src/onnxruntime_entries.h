/* The entries of ONNX Runtime's C interface that this library uses.
 *
 * ONNX Runtime's Python packages bring its library without a header, and its header comes only with archives of its
 * own. The table of functions is append-only: a place in it never changes, and a library answers OrtGetApiBase with the
 * table of any older version. So the places of the few that are used are all that is needed. Where ONNXRUNTIME_ROOT has
 * onnxruntime_c_api.h, that one is used instead; names and types here are the same. */
#ifndef SAMDEPLOY_ONNXRUNTIME_ENTRIES_H
#define SAMDEPLOY_ONNXRUNTIME_ENTRIES_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define ORT_API_CALL __stdcall
#define ORTCHAR_T wchar_t
#else
#define ORT_API_CALL
#define ORTCHAR_T char
#endif

/* The version of the table in which all of these entries are. */
#define ORT_API_VERSION 5

typedef struct OrtStatus OrtStatus;
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtValue OrtValue;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtAllocator OrtAllocator;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;

typedef enum OrtLoggingLevel { ORT_LOGGING_LEVEL_ERROR = 3 } OrtLoggingLevel;
typedef enum GraphOptimizationLevel { ORT_DISABLE_ALL = 0 } GraphOptimizationLevel;
typedef enum OrtAllocatorType { OrtDeviceAllocator = 0, OrtArenaAllocator = 1 } OrtAllocatorType;
typedef enum OrtMemType { OrtMemTypeDefault = 0 } OrtMemType;
typedef enum ONNXTensorElementDataType { ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1 } ONNXTensorElementDataType;

typedef void(ORT_API_CALL* SamdeployUnused)(void);
#define SAMDEPLOY_SKIP(first, last) SamdeployUnused unused_##first[(last) - (first) + 1]

typedef struct OrtApi {
  SAMDEPLOY_SKIP(0, 1);
  const char*(ORT_API_CALL* GetErrorMessage)(const OrtStatus*);                     /* 2 */
  OrtStatus*(ORT_API_CALL* CreateEnv)(OrtLoggingLevel, const char* name, OrtEnv**); /* 3 */
  SAMDEPLOY_SKIP(4, 6);
  OrtStatus*(ORT_API_CALL* CreateSession)(const OrtEnv*, const ORTCHAR_T* path, const OrtSessionOptions*,
                                          OrtSession**); /* 7 */
  OrtStatus*(ORT_API_CALL* CreateSessionFromArray)(const OrtEnv*, const void* bytes, size_t count,
                                                   const OrtSessionOptions*, OrtSession**); /* 8 */
  OrtStatus*(ORT_API_CALL* Run)(OrtSession*, const OrtRunOptions*, const char* const* input_names,
                                const OrtValue* const* inputs, size_t input_count, const char* const* output_names,
                                size_t output_count, OrtValue** outputs);                         /* 9 */
  OrtStatus*(ORT_API_CALL* CreateSessionOptions)(OrtSessionOptions**);                            /* 10 */
  OrtStatus*(ORT_API_CALL* SetOptimizedModelFilePath)(OrtSessionOptions*, const ORTCHAR_T* path); /* 11 */
  OrtStatus*(ORT_API_CALL* CloneSessionOptions)(const OrtSessionOptions*, OrtSessionOptions**);   /* 12 */
  SAMDEPLOY_SKIP(13, 16);
  OrtStatus*(ORT_API_CALL* DisableMemPattern)(OrtSessionOptions*); /* 17 */
  SAMDEPLOY_SKIP(18, 21);
  OrtStatus*(ORT_API_CALL* SetSessionLogSeverityLevel)(OrtSessionOptions*, int level);                    /* 22 */
  OrtStatus*(ORT_API_CALL* SetSessionGraphOptimizationLevel)(OrtSessionOptions*, GraphOptimizationLevel); /* 23 */
  OrtStatus*(ORT_API_CALL* SetIntraOpNumThreads)(OrtSessionOptions*, int threads);                        /* 24 */
  SAMDEPLOY_SKIP(25, 48);
  OrtStatus*(ORT_API_CALL* CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo*, void* data, size_t bytes,
                                                           const int64_t* shape, size_t rank, ONNXTensorElementDataType,
                                                           OrtValue**); /* 49 */
  SAMDEPLOY_SKIP(50, 50);
  OrtStatus*(ORT_API_CALL* GetTensorMutableData)(OrtValue*, void** data); /* 51 */
  SAMDEPLOY_SKIP(52, 59);
  OrtStatus*(ORT_API_CALL* GetTensorElementType)(const OrtTensorTypeAndShapeInfo*, ONNXTensorElementDataType*); /* 60 */
  OrtStatus*(ORT_API_CALL* GetDimensionsCount)(const OrtTensorTypeAndShapeInfo*, size_t*);                      /* 61 */
  OrtStatus*(ORT_API_CALL* GetDimensions)(const OrtTensorTypeAndShapeInfo*, int64_t*, size_t);                  /* 62 */
  SAMDEPLOY_SKIP(63, 64);
  OrtStatus*(ORT_API_CALL* GetTensorTypeAndShape)(const OrtValue*, OrtTensorTypeAndShapeInfo**); /* 65 */
  SAMDEPLOY_SKIP(66, 68);
  OrtStatus*(ORT_API_CALL* CreateCpuMemoryInfo)(OrtAllocatorType, OrtMemType, OrtMemoryInfo**); /* 69 */
  SAMDEPLOY_SKIP(70, 92);
  void(ORT_API_CALL* ReleaseStatus)(OrtStatus*);         /* 93 */
  void(ORT_API_CALL* ReleaseMemoryInfo)(OrtMemoryInfo*); /* 94 */
  void(ORT_API_CALL* ReleaseSession)(OrtSession*);       /* 95 */
  void(ORT_API_CALL* ReleaseValue)(OrtValue*);           /* 96 */
  SAMDEPLOY_SKIP(97, 98);
  void(ORT_API_CALL* ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*); /* 99 */
  void(ORT_API_CALL* ReleaseSessionOptions)(OrtSessionOptions*);                 /* 100 */
  SAMDEPLOY_SKIP(101, 129);
  OrtStatus*(ORT_API_CALL* AddSessionConfigEntry)(OrtSessionOptions*, const char* key, const char* value); /* 130 */
} OrtApi;

typedef struct OrtApiBase {
  const OrtApi*(ORT_API_CALL* GetApi)(uint32_t version);
  const char*(ORT_API_CALL* GetVersionString)(void);
} OrtApiBase;

#ifdef __cplusplus
extern "C"
#endif
    const OrtApiBase* ORT_API_CALL
    OrtGetApiBase(void);

#endif

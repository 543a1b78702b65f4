/* What the shared library shows; everything else in it is hidden. */
#ifndef SAMDEPLOY_API_H
#define SAMDEPLOY_API_H

#if defined(SAMDEPLOY_STATIC)
#define SAMDEPLOY_API
#elif defined(_WIN32) && defined(SAMDEPLOY_BUILDING)
#define SAMDEPLOY_API __declspec(dllexport)
#elif defined(_WIN32)
#define SAMDEPLOY_API __declspec(dllimport)
#else
#define SAMDEPLOY_API __attribute__((visibility("default")))
#endif

#endif

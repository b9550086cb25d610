# find_package(octet): octet::octet (the whole library), octet::runtime (what a deployment needs to run
# engines, in C++ and C), octet::nvinfer (octet::octet under the names of TensorRT's headers).
include(${CMAKE_CURRENT_LIST_DIR}/octetTargets.cmake)

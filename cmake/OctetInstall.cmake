# The libraries that others link, and their installation. Both are shared and bring all of Octet's layers along: a consumer needs no
# package that Octet was built with.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/empty.cc CONTENT "// A library of archives.\n")
set(exports ${PROJECT_SOURCE_DIR}/cmake/exports.map)

# octet_shared(TARGET NAME layers that are exported...)
function(octet_shared target name)
  add_library(${target} SHARED ${PROJECT_BINARY_DIR}/generated/empty.cc)
  set(whole "")
  foreach(layer ${ARGN})
    string(APPEND whole ",$<TARGET_FILE:octet_${layer}>")
    target_link_libraries(${target} PRIVATE octet_${layer})
    add_dependencies(${target} octet_${layer})
  endforeach()
  target_link_options(${target} PRIVATE "LINKER:--whole-archive${whole},--no-whole-archive" "LINKER:--version-script=${exports}"
    "LINKER:--no-undefined")
  target_include_directories(${target} INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
  target_compile_features(${target} INTERFACE cxx_std_20)
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name} VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
    LINK_DEPENDS ${exports} LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endfunction()

octet_shared(octet_library octet tensor engine pipeline)
foreach(part builder engine inspector network parser)
  target_sources(octet_library PRIVATE ${PROJECT_SOURCE_DIR}/compat/${part}.cc)
endforeach()
target_include_directories(octet_library PRIVATE ${PROJECT_SOURCE_DIR}/compat)
octet_shared(octet_runtime_library octet_runtime tensor engine)
set_target_properties(octet_library PROPERTIES EXPORT_NAME octet)
set_target_properties(octet_runtime_library PROPERTIES EXPORT_NAME runtime)

add_library(octet_nvinfer INTERFACE)
target_link_libraries(octet_nvinfer INTERFACE octet_library)
target_include_directories(octet_nvinfer INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/octet/compat>
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/compat>)
set_target_properties(octet_nvinfer PROPERTIES EXPORT_NAME nvinfer)
foreach(name octet runtime nvinfer)
  set(target octet_${name})
  if(name STREQUAL octet)
    set(target octet_library)
  elseif(name STREQUAL runtime)
    set(target octet_runtime_library)
  endif()
  add_library(octet::${name} ALIAS ${target})
endforeach()

install(TARGETS octet_library octet_runtime_library octet_nvinfer EXPORT octetTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS octet RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/octet DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES compat/NvInfer.h compat/NvInferPlugin.h compat/NvInferRuntime.h compat/NvInferRuntimeCommon.h compat/NvInferVersion.h
  compat/NvOnnxParser.h compat/cuda_runtime.h compat/cuda_runtime_api.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/octet/compat)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/octet)
install(EXPORT octetTargets NAMESPACE octet:: DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/octetConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES cmake/octetConfig.cmake ${PROJECT_BINARY_DIR}/octetConfigVersion.cmake DESTINATION ${package})

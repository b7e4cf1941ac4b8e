# STAND-IN: refuses what the Extensions Index refuses, and writes down what it was told.
foreach(_name HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${_name}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${_name} is empty")
  endif()
  file(APPEND "${CMAKE_BINARY_DIR}/meta.txt" "${_name}=${EXTENSION_${_name}}\n")
endforeach()

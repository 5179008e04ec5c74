// Conversions between C++ and Foundation text.
#pragma once

#import <Foundation/Foundation.h>

#include <string>

namespace metalhead::metal {

inline NSString* to_ns(const std::string& text) { return [NSString stringWithUTF8String:text.c_str()]; }

inline NSURL* file_url(const std::string& path) { return [NSURL fileURLWithPath:to_ns(path)]; }

/// The driver's own words; some calls fail without any.
inline std::string text_of(NSError* error) {
  if (error == nil || error.localizedDescription == nil) return "the driver gave no reason";
  return error.localizedDescription.UTF8String;
}

}  // namespace metalhead::metal

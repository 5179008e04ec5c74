// Instance variables of the Foundation look-alikes, and makers for them.
#pragma once

#import <Foundation/Foundation.h>

#include <string>
#include <vector>

@interface NSTaggedString : NSString
@end

@interface SimString : NSString {
 @public
  std::string text_;
}
@end

@interface SimArray : NSArray {
 @public
  std::vector<id> objects_;
}
@end

namespace metalhead::sim {

NSString* make_string(const std::string& text);
NSArray* make_array(const std::vector<id>& objects);
NSError* make_error(NSString* domain, NSInteger code, const std::string& text);

/// Text of a string that may be nil.
std::string text_of(NSString* string);

}  // namespace metalhead::sim

package users

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotation reads what Encode has written to an annotation of an object; nil:
// it has none.
func Annotation[T any](object metav1.Object, name string) (*T, error) {
	text := object.GetAnnotations()[name]
	if text == "" {
		return nil, nil
	}
	value := new(T)
	if err := json.Unmarshal([]byte(text), value); err != nil {
		return nil, fmt.Errorf("annotation %s of %s: %w", name, object.GetName(), err)
	}
	return value, nil
}

// Encode is the text of an annotation, or a patch. The value is one that always
// encodes.
func Encode(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", value, err))
	}
	return string(text)
}

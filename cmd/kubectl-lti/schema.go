// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/operation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"github.com/lti-operator/lti-operator/config/crd"
)

// loadSchemas reads the rules once. They are for one goroutine.
var loadSchemas = sync.OnceValues(newSchemas)

// schemas holds the rules of each kind. They are compiled when the first object of the kind is met: that takes longer
// than everything else.
type schemas struct {
	definitions map[schema.GroupVersionKind]*apiextensions.JSONSchemaProps
	compiled    map[schema.GroupVersionKind]*kindSchema
}

func newSchemas() (*schemas, error) {
	definitions, err := crd.All()
	if err != nil {
		return nil, err
	}
	s := &schemas{
		definitions: map[schema.GroupVersionKind]*apiextensions.JSONSchemaProps{},
		compiled:    map[schema.GroupVersionKind]*kindSchema{},
	}
	for _, d := range definitions {
		for _, v := range d.Spec.Versions {
			if !v.Served {
				continue
			}
			internal := &apiextensions.CustomResourceValidation{}
			if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(v.Schema, internal, nil); err != nil {
				return nil, fmt.Errorf("convert the schema of %s: %w", d.Name, err)
			}
			s.definitions[schema.GroupVersionKind{Group: d.Spec.Group, Version: v.Name, Kind: d.Spec.Names.Kind}] = internal.OpenAPIV3Schema
		}
	}
	return s, nil
}

// find returns the rules of a kind; nil when there is no such kind.
func (s *schemas) find(gvk schema.GroupVersionKind) (*kindSchema, error) {
	definition := s.definitions[gvk]
	if definition == nil || s.compiled[gvk] != nil {
		return s.compiled[gvk], nil
	}
	structural, err := structuralschema.NewStructural(definition)
	if err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", gvk.Kind, err)
	}
	validator, _, err := crdvalidation.NewSchemaValidator(definition)
	if err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", gvk.Kind, err)
	}
	k := &kindSchema{structural: structural, openAPI: validator, cel: cel.NewValidator(structural, true, celconfig.PerCallLimit)}
	s.compiled[gvk] = k
	return k, nil
}

// kindSchema checks objects of one kind as the API server does when one is created. Its order is that of the handler of
// custom resources: customresource_handler.go, registry/customresource/{strategy,validator}.go and
// schema/objectmeta of k8s.io/apiextensions-apiserver. Our kinds have no embedded objects and no scale subresource.
type kindSchema struct {
	structural *structuralschema.Structural
	openAPI    crdvalidation.SchemaValidator
	cel        *cel.Validator
}

// check returns the paths of fields that the kind does not have, and what is wrong with the others. The error is that
// metadata cannot be read at all. The object becomes what the API server would store; its name and namespace must be
// set.
func (k *kindSchema) check(ctx context.Context, object map[string]any) (unknown []string, errs field.ErrorList, err error) {
	meta, _, unknown, err := objectmeta.GetObjectMetaWithOptions(object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return nil, nil, err
	}
	unknown = append(unknown, pruning.PruneWithOptions(object, k.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})...)
	defaulting.PruneNonNullableNullsWithoutDefaults(object, k.structural)
	if err := objectmeta.SetObjectMeta(object, meta); err != nil {
		return nil, nil, err
	}
	defaulting.Default(object, k.structural)
	// Nobody can create an object with a status.
	delete(object, "status")

	errs = append(errs, checkMeta(ctx, meta)...)
	errs = append(errs, crdvalidation.ValidateCustomResource(nil, object, k.openAPI)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, object)...)
	if blocking(errs) {
		return unknown, append(errs, field.Invalid(nil, nil, notChecked)), nil
	}
	// Without an old object the rules about changes do not apply.
	broken, _ := k.cel.Validate(ctx, nil, k.structural, object, nil, celconfig.RuntimeCELCostBudget)
	return unknown, append(errs, broken...), nil
}

// notChecked is what the API server says then.
const notChecked = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"

// checkMeta applies the rules that metadata of every kind has.
func checkMeta(ctx context.Context, meta *metav1.ObjectMeta) field.ErrorList {
	return metavalidation.ValidateObjectMetaDeclaratively(ctx, operation.Create, meta, nil, true, metavalidation.NameIsDNSSubdomain, field.NewPath("metadata"), true)
}

// blocking tells whether the API server looks at no CEL rule because of these: the rules rely on types and limits.
func blocking(errs field.ErrorList) bool {
	for _, e := range errs {
		switch e.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		}
	}
	return false
}

// fieldOf is the path of a field error; empty for the object as a whole.
func fieldOf(e *field.Error) string { return strings.TrimPrefix(e.Field, "<nil>") }

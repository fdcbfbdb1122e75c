package main

import "context"

func (e *e2e) permissions(context.Context) error   { return nil }
func (e *e2e) propagation(context.Context) error   { return nil }
func (e *e2e) reinstall(context.Context) error     { return nil }
func (e *e2e) sqliteRestart(context.Context) error { return nil }
func (e *e2e) restore(context.Context) error       { return nil }
